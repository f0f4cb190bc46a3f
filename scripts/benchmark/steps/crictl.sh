# shellcheck shell=sh
# crictl's endpoint.
# Params: ROOT

FILE=$ROOT/etc/crictl.yaml

text() {
    cat <<'TEXT'
runtime-endpoint: unix:///run/containerd/containerd.sock
timeout: 10
TEXT
}

check() { text | cmp -s - "$FILE"; }

apply() {
    mkdir -p "${FILE%/*}"
    text >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
