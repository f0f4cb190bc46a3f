# shellcheck shell=sh
# The package repository.
# Params: ROOT

FILE=$ROOT/etc/yum.repos.d/kubernetes.repo

text() {
    cat <<'TEXT'
[kubernetes]
name=Kubernetes
baseurl=https://pkgs.k8s.io/core:/stable:/v1.34/rpm/
enabled=1
gpgcheck=1
gpgkey=https://pkgs.k8s.io/core:/stable:/v1.34/rpm/repodata/repomd.xml.key
exclude=kubelet kubeadm kubectl
TEXT
}

check() { text | cmp -s - "$FILE"; }

apply() {
    mkdir -p "${FILE%/*}"
    text >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
