# The lab's container images. `base` has what kube-proxy and the stand-ins call; the control plane is one static binary each.
ARG BASE=scratch
FROM ${BASE} AS base

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
COPY etcd /usr/local/bin/

FROM base AS coredns
COPY coredns-stand-in /coredns
ENTRYPOINT ["/coredns"]

FROM base AS flannel
COPY flanneld-stand-in /opt/bin/flanneld

FROM base AS flannel-cni-plugin
COPY flannel /flannel

FROM base AS probe
