# shellcheck shell=sh
# SELinux permissive at the next boot.
# Params: ROOT

FILE=$ROOT/etc/selinux/config

check() { grep -q '^SELINUX=permissive$' "$FILE"; }

apply() {
    sed 's/^SELINUX=.*/SELINUX=permissive/' "$FILE" >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
