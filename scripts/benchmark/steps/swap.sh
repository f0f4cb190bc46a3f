# shellcheck shell=sh
# No swap at the next boot.
# Params: ROOT

FILE=$ROOT/etc/fstab

check() { ! awk '$1 !~ /^#/ && $3 == "swap" { found = 1 } END { exit !found }' "$FILE"; }

apply() {
    awk '$1 !~ /^#/ && $3 == "swap" { print "# off: " $0; next } { print }' "$FILE" >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
