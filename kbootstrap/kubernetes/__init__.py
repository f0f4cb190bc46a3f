"""Formats of Kubernetes: kubeadm documents, kubeconfig files and package repositories."""
