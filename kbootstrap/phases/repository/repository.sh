# shellcheck shell=sh
# A package repository and its signing keys. A key is fetched once and compared with the pinned fingerprints before it is put
# in place. Later checks compare its checksum, so they need neither network nor gpg.
# Params: ID, NAME, URL, KEY_URL, FINGERPRINTS, SUITE, EXCLUDE, SIGNED

text() { repo_text "$ID" "$NAME" "$URL" "$SUITE" "$EXCLUDE" "$SIGNED"; }

record() { echo "$KB_STATE/keys/$ID"; }

trusted() {
    key=$(key_file "$ID")
    [ -s "$key" ] && [ -s "$(record)" ] &&
        [ "$(cat "$(record)")" = "$(sha256sum "$key" | cut -d' ' -f1) $FINGERPRINTS" ]
}

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
    key=$(key_file "$ID")
    make_folder "$(dirname "$key")"
    keep_original "$key"
    mkdir -p "$(dirname "$(record)")" "$KB_DIR/gpg"
    chmod 700 "$KB_DIR/gpg"
    fetch "$KEY_URL" "$KB_DIR/$ID.key"
    shown=$(fingerprints "$KB_DIR/$ID.key")
    if [ -z "$shown" ]; then
        fail "$KEY_URL is not a GPG public key" "Is there a proxy or a mirror in between that answers with a web page?"
    fi
    for fingerprint in $shown; do
        case " $FINGERPRINTS " in
            *" $fingerprint "*) ;;
            *) fail "$KEY_URL has the key $fingerprint, the inventory pins $FINGERPRINTS" \
                "If the repository is yours or changed its key, set package_key; otherwise do not trust it." ;;
        esac
    done
    new=$(mktemp "$key.kbXXXXXX")
    cat "$KB_DIR/$ID.key" >"$new"
    replace_with "$new" "$key" 644
    printf '%s %s\n' "$(sha256sum "$key" | cut -d' ' -f1)" "$FINGERPRINTS" >"$(record)"
}

# The fingerprints of the primary keys in a file. This works with the gpg of CentOS 7 and with current ones.
fingerprints() {
    gpg --homedir "$KB_DIR/gpg" --batch --with-colons --with-fingerprint "$1" 2>/dev/null |
        awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }'
}
