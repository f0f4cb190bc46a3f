# shellcheck shell=sh
# The kubelet's drop-in.
# Params: ROOT

FILE=$ROOT/etc/systemd/system/kubelet.service.d/10-kubeadm.conf

text() {
    cat <<'TEXT'
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS
TEXT
}

check() { text | cmp -s - "$FILE"; }

apply() {
    mkdir -p "${FILE%/*}"
    text >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
