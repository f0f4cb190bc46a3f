# shellcheck shell=sh
# The host's name.
# Params: ROOT, NAME

check() { [ -f "$ROOT/etc/hostname" ] && [ "$(cat "$ROOT/etc/hostname")" = "$NAME" ]; }

apply() {
    mkdir -p "$ROOT/etc"
    printf '%s\n' "$NAME" >"$ROOT/etc/hostname"
}
