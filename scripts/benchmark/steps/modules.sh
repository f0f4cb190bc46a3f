# shellcheck shell=sh
# The kernel modules to load at boot.
# Params: ROOT

FILE=$ROOT/etc/modules-load.d/kubernetes.conf

text() {
    cat <<'TEXT'
overlay
br_netfilter
TEXT
}

check() { text | cmp -s - "$FILE"; }

apply() {
    mkdir -p "${FILE%/*}"
    text >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
