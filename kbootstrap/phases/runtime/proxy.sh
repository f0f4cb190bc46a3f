# shellcheck shell=sh
# The proxy of containerd's service, for pulls. Without a proxy in the inventory our own file goes again.
# Params: PROXY ("NAME=value" per line; empty: none)

FILE=/etc/systemd/system/containerd.service.d/kbootstrap-proxy.conf

text() {
    echo '[Service]'
    printf '%s\n' "$PROXY" | sed 's/.*/Environment="&"/'
}

check() {
    if [ -n "$PROXY" ]; then
        file_is "$FILE" "$(text)"
    elif [ -e "$FILE" ]; then
        echo "- $FILE"
        return 1
    fi
}

apply() {
    if [ -n "$PROXY" ]; then
        put_file "$FILE" 644 "$(text)"
    else
        put_back "$FILE"
    fi
    run systemctl daemon-reload
    if systemctl is-active --quiet containerd; then
        run systemctl restart containerd
    fi
}
