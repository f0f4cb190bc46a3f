# shellcheck shell=sh
# The host's name is the node's name: the kubelet's certificates and the node object are made for it.
# Params: NAME

check() {
    found=0
    if [ "$(uname -n)" != "$NAME" ]; then
        printf -- '- host name %s\n+ host name %s\n' "$(uname -n)" "$NAME"
        found=1
    fi
    kept=''
    if [ -r /etc/hostname ]; then
        read -r kept </etc/hostname || true
    fi
    if [ "$kept" != "$NAME" ]; then
        printf -- '- /etc/hostname: %s\n+ /etc/hostname: %s\n' "$kept" "$NAME"
        found=1
    fi
    return "$found"
}

apply() {
    keep_original /etc/hostname
    save_state hostname name "$(uname -n)"
    run hostnamectl set-hostname "$NAME"
}
