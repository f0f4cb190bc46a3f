# shellcheck shell=sh
# The nodes in /etc/hosts, between two marks; every other line stays.
# Params: ROOT

FILE=$ROOT/etc/hosts

block() {
    cat <<'TEXT'
# nodes begin
198.18.0.1 cp1
198.18.0.2 w1
198.18.0.3 w2
198.18.0.4 w3
# nodes end
TEXT
}

check() { [ "$(sed -n '/^# nodes begin$/,/^# nodes end$/p' "$FILE")" = "$(block)" ]; }

apply() {
    sed '/^# nodes begin$/,/^# nodes end$/d' "$FILE" >"$FILE.new"
    block >>"$FILE.new"
    mv "$FILE.new" "$FILE"
}
