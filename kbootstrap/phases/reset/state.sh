# shellcheck shell=sh
# The records of kbootstrap about this host. Where its settings stay, the record of their original state stays too, so that a
# later reset can put them back.
# Params: KEEP (1: keep the record)

left() {
    if [ "$KEEP" = 1 ]; then
        [ ! -d "$KB_STATE" ] || find "$KB_STATE" -mindepth 1 -maxdepth 1 ! -name before ! -name original ! -name hosts
    elif [ -e "$KB_STATE" ]; then
        echo "$KB_STATE"
    fi
}

check() { show "$(left | sed 's/^/- /')"; }

apply() {
    left | while read -r path; do
        rm -rf "$path"
    done
}
