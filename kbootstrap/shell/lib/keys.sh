# shellcheck shell=sh
# keys.sh - signing keys from the network. The one place that decides about them: only its output is ever put in place.
# requires: os

# pinned_keys FILE NEW WHERE FINGERPRINTS - write the pinned keys of a downloaded file to NEW. FILE itself is used for nothing
# else: gpg, apt and rpm read odd files differently, and one may find a stranger's key where another finds only good ones.
# gpg writes NEW from the keys that it has understood. Fails where FILE has a key that is not pinned. Sets kb_expires to the time
# when the first of them expires, in seconds since 1970; 0 where none does.
pinned_keys() {
    kb_ring=$(mktemp -d "$KB_DIR/gpg.XXXXXX")
    kb_gpg --import "$1" >/dev/null 2>&1 || true
    kb_listing=$(kb_gpg --with-colons --fingerprint --list-keys 2>/dev/null) || true
    kb_keys_in=$(printf '%s\n' "$kb_listing" |
        awk -F: '$1 == "pub" { primary = 1; revoked = $2 == "r" }
            $1 == "fpr" && primary { print $10 (revoked ? ":revoked" : ""); primary = 0 }')
    # shellcheck disable=SC2034 # the caller uses it
    kb_expires=$(printf '%s\n' "$kb_listing" |
        awk -F: '$1 == "pub" && $7 > 0 && (!first || $7 < first) { first = $7 } END { print first + 0 }')
    if [ -z "$kb_keys_in" ]; then
        kb_refuse "$3 is not a GPG public key" "Is there a proxy or a mirror in between that answers with a web page? [package-keys]"
    fi
    for kb_key in $kb_keys_in; do
        case " $4 " in
            *" ${kb_key%:revoked} "*) ;;
            *) kb_refuse "$3 has the key ${kb_key%:revoked}, the inventory pins $4" \
                "If the repository is yours or changed its key, set package_key; otherwise do not trust it. [package-keys]" ;;
        esac
        if [ "$kb_key" != "${kb_key%:revoked}" ]; then
            kb_refuse "the key ${kb_key%:revoked} of $3 has been revoked by its owner" \
                "Find out from the owner of the repository which key is right now, and set package_key. [package-keys]"
        fi
    done
    # shellcheck disable=SC2086 # fingerprints are words
    key_blocks $kb_keys_in | while read -r kb_block; do
        kb_gpg --armor --export $kb_block
    done >"$2"
    rm -rf "$kb_ring"
    [ -s "$2" ]
}

# Without its folder, the agent that some versions of gpg have started ends by itself.
kb_refuse() {
    rm -rf "$kb_ring"
    fail "$@"
}

kb_gpg() { gpg --homedir "$kb_ring" --batch --no-options --no-tty --trust-model always "$@"; }
