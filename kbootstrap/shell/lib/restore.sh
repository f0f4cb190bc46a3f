# shellcheck shell=sh
# restore.sh - put back what was there before kbootstrap.
# requires: files services state

# changed_files PATTERN... - the files kbootstrap replaced or made whose paths match.
changed_files() {
    {
        saved_keys absent
        if [ -d "$KB_STATE/before" ]; then
            find "$KB_STATE/before" -type f ! -name '*.new' | sed "s|^$KB_STATE/before||"
        fi
    } | sort -u | while read -r kb_path; do
        for kb_pattern in "$@"; do
            # shellcheck disable=SC2254 # a pattern
            case $kb_path in
                $kb_pattern) printf '%s\n' "$kb_path" ;;
            esac
        done
    done
}

# has_original PATH - is there a copy from before?
has_original() { [ -e "$KB_STATE/before$1" ]; }

# files_differ PATH... - what is not as it was: changed or new files, and what an interrupted write has left beside them.
files_differ() {
    for kb_path in "$@"; do
        if has_original "$kb_path"; then
            if ! cmp -s "$KB_STATE/before$kb_path" "$kb_path" ||
                [ "$(stat -c '%a %u %g' "$KB_STATE/before$kb_path")" != "$(stat -c '%a %u %g' "$kb_path")" ]; then
                echo "~ $kb_path, as it was before"
            fi
        elif [ -e "$kb_path" ] || [ -L "$kb_path" ]; then
            echo "- $kb_path"
        fi
        for kb_left in "$kb_path".kb??????; do
            if [ -e "$kb_left" ]; then
                echo "- $kb_left"
            fi
        done
    done
}

# put_back PATH... - the files as they were; those that were not there go, with the folders made for them.
put_back() {
    for kb_path in "$@"; do
        rm -f "$kb_path".kb??????
        if has_original "$kb_path"; then
            mkdir -p "$(dirname "$kb_path")"
            kb_new=$(mktemp "$kb_path.kbXXXXXX")
            cp -p "$KB_STATE/before$kb_path" "$kb_new"
            replace_with "$kb_new" "$kb_path" "$(stat -c %a "$kb_new")"
        else
            rm -f "$kb_path"
        fi
        drop_folders "$(dirname "$kb_path")"
    done
}

# drop_folders PATH - this folder and those above it, where kbootstrap made them and nothing is in them.
drop_folders() {
    kb_at=$1
    while saved_state folder "$kb_at" >/dev/null && rmdir "$kb_at" 2>/dev/null; do
        kb_at=$(dirname "$kb_at")
    done
}

# edits_left PATH SED-SCRIPT - does the file still have lines of ours? Prints what is taken out of it.
edits_left() {
    [ -f "$1" ] || return 0
    if [ "$(sed -e "$2" "$1")" != "$(cat "$1")" ]; then
        echo "~ $1, without the lines of kbootstrap"
    elif has_original "$1" && [ "$(cat "$1")" = "$(cat "$KB_STATE/before$1")" ]; then
        files_differ "$1"
    fi
}

# take_edits_out PATH SED-SCRIPT - our lines out of a file that is somebody else's; where nobody has changed it since, it is
# the very file from before.
take_edits_out() {
    kb_text=$(sed -e "$2" "$1")
    if has_original "$1" && [ "$kb_text" = "$(cat "$KB_STATE/before$1")" ]; then
        put_back "$1"
        return
    fi
    kb_new=$(mktemp "$1.kbXXXXXX")
    cp -p "$1" "$kb_new"
    printf '%s\n' "$kb_text" >"$kb_new"
    replace_with "$kb_new" "$1"
}

# unit_before UNIT - as unit_state; what came with kbootstrap is to be off.
unit_before() {
    kb_was=$(saved_state unit "$1") || return 1
    case $kb_was in
        absent*) kb_was="disabled inactive" ;;
    esac
    printf '%s\n' "$kb_was"
}

# units_differ UNIT... - what is enabled or runs otherwise than before. A unit whose package is gone has no say, and what
# cannot be enabled or disabled is only asked whether it runs.
units_differ() {
    for kb_unit in "$@"; do
        kb_was=$(unit_before "$kb_unit") || continue
        kb_is=$(unit_state "$kb_unit")
        case $kb_is in
            absent*) continue ;;
            enabled* | disabled* | masked*) ;;
            *) kb_is="${kb_was% *} ${kb_is#* }" ;;
        esac
        if [ "$kb_is" != "$kb_was" ]; then
            printf '~ %s: %s, before: %s\n' "$kb_unit" "$kb_is" "$kb_was"
        fi
    done
}

# units_back UNIT...
units_back() {
    for kb_unit in "$@"; do
        [ -n "$(units_differ "$kb_unit")" ] || continue
        kb_was=$(unit_before "$kb_unit")
        case $kb_was in
            enabled*) run systemctl enable "$kb_unit" ;;
            disabled*) run systemctl disable "$kb_unit" ;;
        esac
        case $kb_was in
            *' active') run systemctl start "$kb_unit" ;;
            *) run systemctl stop "$kb_unit" ;;
        esac
    done
}
