# shellcheck shell=sh
# In Flannel's pod, before flanneld starts. After a boot /run is empty: a CNI configuration of before would promise a network
# that is not there yet.
[ -s /run/flannel/subnet.env ] || rm -f /etc/cni/net.d/10-flannel.conflist
