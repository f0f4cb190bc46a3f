# shellcheck shell=sh
# A package repository and its signing keys. A key file is fetched once; only its pinned keys are put in place (see
# keys.sh). Later checks compare its checksum, so they need neither network nor gpg.
# Params: ID, NAME, URL, KEY_URL, FINGERPRINTS, SUITE, EXCLUDE, SIGNED

text() { repo_text "$ID" "$NAME" "$URL" "$SUITE" "$EXCLUDE" "$SIGNED"; }

record() { echo "$KB_STATE/keys/$ID"; }

trusted() {
    key=$(key_file "$ID")
    [ -s "$key" ] && [ -s "$(record)" ] &&
        [ "$(cat "$(record)")" = "$(state_of_key)" ]
}

# "exported": older versions installed the downloaded file itself, which is not to be trusted.
state_of_key() { echo "$(sha256sum "$key" | cut -d' ' -f1) $FINGERPRINTS exported"; }

check() {
    found=0
    file_is "$(repo_file "$ID")" "$(text)" || found=1
    if ! trusted; then
        echo "+ $(key_file "$ID"), pinned to $FINGERPRINTS"
        found=1
    fi
    return "$found"
}

apply() {
    for tool in curl gpg; do
        if ! have "$tool"; then
            pkg_install curl ca-certificates gnupg
        fi
    done
    if ! trusted; then
        fetch_key
    fi
    put_file "$(repo_file "$ID")" 644 "$(text)"
    repo_refresh "$ID"
}

fetch_key() {
    mkdir -p "$(dirname "$(record)")"
    fetch "$KEY_URL" "$KB_DIR/$ID.key"
    pinned_keys "$KB_DIR/$ID.key" "$KB_DIR/$ID.pinned" "$KEY_URL" "$FINGERPRINTS"
    put_file "$key" 644 "$(cat "$KB_DIR/$ID.pinned")"
    state_of_key >"$(record).new"
    mv "$(record).new" "$(record)"
}
