# shellcheck shell=sh
# A package repository and its signing keys. A key file is fetched once, and again when its keys expire; only its pinned keys
# are put in place (see keys.sh). Later checks compare its checksum, so they need neither network nor gpg.
# Another file with the same repository is switched off: apt stops at a second Signed-By, and dnf uses only one of two.
# Params: ID, NAME, URL, KEY_URLS (the first that the server has is used), FINGERPRINTS, SUITE, EXCLUDE, SIGNED

RENEW_DAYS=30

text() { repo_text "$ID" "$NAME" "$URL" "$SUITE" "$EXCLUDE" "$SIGNED"; }

# Two lines: the state of the key file, and when its first key expires (seconds since 1970; 0: never).
record() { echo "$KB_STATE/keys/$ID"; }

trusted() {
    key=$(key_file "$ID")
    [ -s "$key" ] && [ -s "$(record)" ] &&
        [ "$(sed -n 1p "$(record)")" = "$(state_of_key)" ]
}

# "exported": older versions installed the downloaded file itself, which is not to be trusted.
state_of_key() { echo "$(sha256sum "$key" | cut -d' ' -f1) $FINGERPRINTS exported"; }

# A key that expires soon is fetched again, at most once a day: its owner may not have renewed it yet.
expires_soon() {
    expires=$(sed -n 2p "$(record)")
    [ "${expires:-0}" -gt 0 ] && [ "$expires" -lt "$(($(date +%s) + RENEW_DAYS * 86400))" ] &&
        [ -n "$(find "$(record)" -mtime +0)" ]
}

check() {
    found=0
    file_is "$(repo_file "$ID")" "$(text)" || found=1
    if ! trusted; then
        echo "+ $(key_file "$ID"), pinned to $FINGERPRINTS"
        found=1
    elif expires_soon; then
        echo "~ $(key_file "$ID"): its key expires in less than $RENEW_DAYS days"
        found=1
    fi
    for rival in $(rival_sources "$ID" "$URL" "$SUITE"); do
        file_is "$rival" "$(without_rival "$rival" "$ID" "$URL" "$SUITE")" || found=1
    done
    return "$found"
}

apply() {
    for tool in curl gpg; do
        if ! have "$tool"; then
            pkg_install curl ca-certificates gnupg
        fi
    done
    for rival in $(rival_sources "$ID" "$URL" "$SUITE"); do
        # A separate line: where it fails, the step ends before the file is replaced.
        others=$(without_rival "$rival" "$ID" "$URL" "$SUITE")
        put_file "$rival" "$(stat -c %a "$rival")" "$others"
    done
    if ! trusted || expires_soon; then
        fetch_key
    fi
    put_file "$(repo_file "$ID")" 644 "$(text)"
    repo_refresh "$ID"
}

fetch_key() {
    mkdir -p "$(dirname "$(record)")"
    # shellcheck disable=SC2086 # addresses are words
    fetch_first "$KB_DIR/$ID.key" $KEY_URLS
    pinned_keys "$KB_DIR/$ID.key" "$KB_DIR/$ID.pinned" "$KB_FETCHED" "$FINGERPRINTS"
    put_file "$key" 644 "$(cat "$KB_DIR/$ID.pinned")"
    # shellcheck disable=SC2086 # fingerprints are words
    key_replaced $FINGERPRINTS
    # shellcheck disable=SC2154 # pinned_keys sets it
    printf '%s\n%s\n' "$(state_of_key)" "$kb_expires" >"$(record).new"
    mv "$(record).new" "$(record)"
}
