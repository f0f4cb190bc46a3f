# The lab's container images. `base` has what kube-proxy and the stand-ins call; the control plane is one static binary each.
ARG BASE=scratch
FROM ${BASE} AS base
# The packages are only unpacked: what their scripts would have linked is linked here.
RUN ["/bin/dash", "-c", "ln -sf dash /bin/sh; for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do ln -sf xtables-nft-multi /usr/sbin/$name; done; for python in /usr/bin/python3.*; do ln -sf $python /usr/bin/python3; done"]

FROM scratch AS kube-apiserver
COPY kube-apiserver /usr/local/bin/
FROM scratch AS kube-controller-manager
COPY kube-controller-manager /usr/local/bin/
FROM scratch AS kube-scheduler
COPY kube-scheduler /usr/local/bin/

FROM scratch AS pause
COPY pause /pause
ENTRYPOINT ["/pause"]

FROM base AS kube-proxy
COPY kube-proxy /usr/local/bin/

FROM base AS etcd
COPY etcd etcdctl /usr/local/bin/

FROM base AS coredns
COPY coredns-stand-in /coredns
ENTRYPOINT ["/coredns"]

# Flannel's real image is Alpine: its nc and wget are those of busybox.
FROM base AS flannel
RUN ["/bin/dash", "-c", "for name in nc wget; do ln -sf busybox /bin/$name; done"]
COPY flanneld-stand-in /opt/bin/flanneld

FROM base AS flannel-cni-plugin
COPY flannel /flannel

FROM base AS probe
