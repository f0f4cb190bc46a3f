# shellcheck shell=sh
# No firewall at the next boot: its unit is masked.
# Params: ROOT

LINK=$ROOT/etc/systemd/system/firewalld.service

check() { [ "$(readlink "$LINK")" = /dev/null ]; }

apply() {
    mkdir -p "${LINK%/*}"
    ln -sf /dev/null "$LINK"
}
