# shellcheck shell=sh
# files.sh - compare and replace files. The original is kept for `reset`.
# requires: state

# file_is PATH TEXT - does the file hold exactly this text? Prints the difference when it does not.
file_is() {
    if [ ! -f "$1" ]; then
        printf '+ %s (new file)\n' "$1"
        return 1
    fi
    printf '%s\n' "$2" | cmp -s - "$1" && return 0
    printf '%s\n' "$2" | diff -u "$1" - | sed '1s|.*|--- '"$1"'|; 2s|.*|+++ wanted|'
    return 1
}

# put_file PATH MODE TEXT - replace the file in one move, so that no process ever reads half of it. The original is kept
# (see keep_original).
put_file() {
    make_folder "$(dirname "$1")"
    keep_original "$1"
    kb_new=$(mktemp "$1.kbXXXXXX")
    printf '%s\n' "$3" >"$kb_new"
    replace_with "$kb_new" "$1" "$2"
}

# replace_with NEW PATH [MODE] - move a finished file over another. Its content is on the disk first; mode (default: that of
# the old file) and SELinux context are set.
replace_with() {
    chmod "${3:-$(stat -c %a "$2")}" "$1"
    to_disk "$1"
    mv -f "$1" "$2"
    if have restorecon; then
        restorecon "$2" || true
    fi
}
