# shellcheck shell=sh
# containerd's config, crictl's, and the service running with them. The format follows the installed containerd: version 2
# for 1.x, version 3 for 2.x.
# Params: PAUSE_IMAGE, CRI_SOCKET

CONFIG=/etc/containerd/config.toml
MARKER=$KB_STATE/containerd-config

major() { containerd --version 2>/dev/null | awk '{ sub(/^v/, "", $3); split($3, part, "."); print part[1] }'; }

# Where this process may not lower its OOM score (in a container without CAP_SYS_RESOURCE), containers may not either.
oom_restricted() {
    if ! (echo -999 >/proc/self/oom_score_adj) 2>/dev/null; then
        echo true
    else
        echo false
    fi
}

text() {
    if [ "$(major)" = 1 ]; then
        text_2
    else
        text_3
    fi
}

text_2() {
    cri='plugins."io.containerd.grpc.v1.cri"'
    cat <<TEXT
# written by kbootstrap
version = 2
[$cri]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = $(oom_restricted)
[$cri.cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
[$cri.registry]
  config_path = "/etc/containerd/certs.d"
[$cri.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[$cri.containerd.runtimes.runc.options]
  SystemdCgroup = true
TEXT
}

text_3() {
    images='plugins."io.containerd.cri.v1.images"'
    runtime='plugins."io.containerd.cri.v1.runtime"'
    cat <<TEXT
# written by kbootstrap
version = 3
[$images.pinned_images]
  sandbox = "$PAUSE_IMAGE"
[$images.registry]
  config_path = "/etc/containerd/certs.d"
[$runtime]
  restrict_oom_score_adj = $(oom_restricted)
[$runtime.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[$runtime.containerd.runtimes.runc.options]
  SystemdCgroup = true
TEXT
}

crictl_text() { printf 'runtime-endpoint: %s\nimage-endpoint: %s\ntimeout: 10' "$CRI_SOCKET" "$CRI_SOCKET"; }

# Which config the running service was started with.
running_with() {
    if [ -r "$MARKER" ]; then
        cat "$MARKER"
    fi
}

check() {
    if ! have containerd; then
        echo "+ $CONFIG"
        return 1
    fi
    found=0
    wanted=$(text)
    file_is "$CONFIG" "$wanted" || found=1
    file_is /etc/crictl.yaml "$(crictl_text)" || found=1
    service_is containerd || found=1
    if [ "$found" -eq 0 ] && [ "$(running_with)" != "$(printf '%s' "$wanted" | cksum)" ]; then
        echo "containerd was not restarted with this config"
        found=1
    fi
    return "$found"
}

apply() {
    wanted=$(text)
    put_file "$CONFIG" 644 "$wanted"
    put_file /etc/crictl.yaml 644 "$(crictl_text)"
    run systemctl daemon-reload
    service_on containerd
    state_folder
    printf '%s' "$wanted" | cksum >"$MARKER"
}
