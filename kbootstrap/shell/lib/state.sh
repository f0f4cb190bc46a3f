# shellcheck shell=sh
# state.sh - the original state of what kbootstrap changes. /var/lib/kbootstrap/before has a copy of every file, and
# /var/lib/kbootstrap/original has one line for everything else: KIND KEY VALUE. Only the first line about a thing is kept, so
# a later run does not take our own work for the original state. `reset` reads both and puts everything back.

# state_folder - make the folder for records.
state_folder() { [ -d "$KB_STATE" ] || mkdir -m 700 "$KB_STATE"; }

# save_state KIND KEY [VALUE] - record the original state of KEY, before it is changed. The records are written anew and moved
# into place, so that a full disk or a power cut leaves no torn line.
save_state() {
    if saved_state "$1" "$2" >/dev/null; then
        return 0
    fi
    state_folder
    if [ -e "$KB_STATE/original" ]; then
        cat "$KB_STATE/original"
    fi >"$KB_STATE/original.new"
    printf '%s %s %s\n' "$1" "$2" "${3:-}" >>"$KB_STATE/original.new"
    to_disk "$KB_STATE/original.new"
    mv -f "$KB_STATE/original.new" "$KB_STATE/original"
}

# saved_state KIND KEY - print the recorded value; fails where there is none.
saved_state() {
    [ -r "$KB_STATE/original" ] || return 1
    while read -r kb_kind kb_key kb_value; do
        if [ "$kb_kind $kb_key" = "$1 $2" ]; then
            printf '%s\n' "$kb_value"
            return 0
        fi
    done <"$KB_STATE/original"
    return 1
}

# saved_keys KIND - print the recorded keys of a kind.
saved_keys() {
    if [ -r "$KB_STATE/original" ]; then
        awk -v kind="$1" '$1 == kind { print $2 }' "$KB_STATE/original"
    fi
}

# keep_original PATH - copy the file before kbootstrap first changes it, or record that there was none.
keep_original() {
    kb_copy=$KB_STATE/before$1
    if [ -e "$kb_copy" ] || saved_state absent "$1" >/dev/null; then
        return 0
    fi
    if [ ! -e "$1" ]; then
        save_state absent "$1"
        return 0
    fi
    state_folder
    mkdir -p "$(dirname "$kb_copy")"
    cp -p "$1" "$kb_copy.new"
    to_disk "$kb_copy.new"
    mv "$kb_copy.new" "$kb_copy"
}

# make_folder PATH - with its parents; record those that are new.
make_folder() {
    kb_made=''
    kb_at=$1
    while [ ! -d "$kb_at" ]; do
        kb_made="$kb_at $kb_made"
        kb_at=$(dirname "$kb_at")
    done
    for kb_at in $kb_made; do
        save_state folder "$kb_at"
        mkdir "$kb_at"
    done
}

# to_disk FILE - write it to the disk, so that it survives a power cut.
to_disk() { sync "$1" 2>/dev/null || sync; }
