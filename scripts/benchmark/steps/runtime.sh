# shellcheck shell=sh
# containerd with systemd's cgroups.
# Params: ROOT

FILE=$ROOT/etc/containerd/config.toml

text() {
    cat <<'TEXT'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
TEXT
}

check() { text | cmp -s - "$FILE"; }

apply() {
    mkdir -p "${FILE%/*}"
    text >"$FILE.new"
    mv "$FILE.new" "$FILE"
}
