# shellcheck shell=sh
# In Flannel's pod, after flanneld has started: puts the CNI configuration in place once the network is there. containerd reads
# the file whenever it is written, so an equal file is left alone.
from=/etc/kube-flannel/cni-conf.json
to=/etc/cni/net.d/10-flannel.conflist
left=600
until [ -s /run/flannel/subnet.env ]; do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then
        echo "flanneld has not written /run/flannel/subnet.env in two minutes"
        exit 1
    fi
    sleep 0.2
done
if [ "$(cat "$to" 2>/dev/null)" != "$(cat "$from")" ]; then
    cp -f "$from" "$to"
fi
