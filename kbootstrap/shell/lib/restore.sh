# shellcheck shell=sh
# restore.sh - put back the original state, from the records of state.sh.
# requires: files services state

# changed_files PATTERN... - print the files that kbootstrap replaced or made and whose paths match.
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

# has_original PATH - is there a copy of the original?
has_original() { [ -e "$KB_STATE/before$1" ]; }

# files_differ PATH... - print what differs from the original: changed and new files, and what an interrupted write left.
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

# put_back PATH... - restore the originals. Remove files that are new, with the folders made for them.
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

# drop_folders PATH - remove this folder and those above it, where kbootstrap made them and they are empty.
drop_folders() {
    kb_at=$1
    while saved_state folder "$kb_at" >/dev/null && rmdir "$kb_at" 2>/dev/null; do
        kb_at=$(dirname "$kb_at")
    done
}

# edits_left PATH SED-SCRIPT - does the file still have our lines? Prints what will change.
edits_left() {
    [ -f "$1" ] || return 0
    if [ "$(sed -e "$2" "$1")" != "$(cat "$1")" ]; then
        echo "~ $1, without the lines of kbootstrap"
    elif has_original "$1" && [ "$(cat "$1")" = "$(cat "$KB_STATE/before$1")" ]; then
        files_differ "$1"
    fi
}

# take_edits_out PATH SED-SCRIPT - remove our lines from a file that others edit too. Where nobody has changed it since, put
# the original back.
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

# unit_before UNIT - its original state, as unit_state prints it. A unit that came with kbootstrap is to be off.
unit_before() {
    kb_was=$(saved_state unit "$1") || return 1
    case $kb_was in
        absent*) kb_was="disabled inactive" ;;
    esac
    printf '%s\n' "$kb_was"
}

# units_differ UNIT... - print the units whose state is not the original one. A unit whose package is gone is left out. Of a
# unit that cannot be enabled or disabled only `active` counts.
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

# units_back UNIT... - give the units their original state.
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
