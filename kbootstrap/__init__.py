"""kbootstrap turns a handful of plain Linux hosts into a working Kubernetes cluster over SSH with kubeadm."""

__version__ = "0.1.0"
