"""What kbootstrap knows of Kubernetes: kubeadm's documents, kubeconfig files, ports and package repositories."""
