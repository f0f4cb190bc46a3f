# shellcheck shell=sh
# The kernel settings for pod traffic.
# Params: ROOT

FILE=$ROOT/etc/sysctl.d/99-kubernetes.conf

text() {
    cat <<'TEXT'
net.ipv4.ip_forward=1
net.bridge.bridge-nf-call-iptables=1
net.bridge.bridge-nf-call-ip6tables=1
TEXT
}

check() { text | cmp -s - "$FILE"; }

apply() {
    mkdir -p "${FILE%/*}"
    text >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
