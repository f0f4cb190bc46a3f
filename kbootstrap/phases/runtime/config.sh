# shellcheck shell=sh
# containerd's config, crictl's, and the service running with them. The file belongs to its operator too: only our keys are
# set, and everything else stays (other runtimes, root, credentials). A drop-in file would not do: containerd 1.x replaces a
# plugin's whole section by that of an imported file (containerd/containerd#5837).
# A new file has version 2 for containerd 1.x and version 3 for 2.x.
# Params: PAUSE_IMAGE, CRI_SOCKET, HOSTS (1: the inventory names mirrors or insecure registries)

CONFIG=/etc/containerd/config.toml
MARKER=$KB_STATE/containerd-config

major() { containerd --version 2>/dev/null | awk '{ sub(/^v/, "", $3); split($3, part, "."); print part[1] }'; }

# Where this process may not lower its OOM score (in a container without CAP_SYS_RESOURCE), containers may not either.
oom_restricted() { ! (echo -999 >/proc/self/oom_score_adj) 2>/dev/null; }

# version_of TEXT - the version that a config names; 1 where it names none.
version_of() {
    printf '%s\n' "$1" | awk '
        /^[ \t]*\[/ { exit }
        /^[ \t]*version[ \t]*=/ { sub(/.*=[ \t]*/, ""); found = $0 + 0; exit }
        END { if (found < 1) found = 1; print found }'
}

# What is in the file now. Nothing, where this containerd cannot read it or its plugins have names of version 1.
current() {
    [ -s "$CONFIG" ] || return 0
    now=$(cat "$CONFIG")
    case $(version_of "$now") in
        1) printf '%s\n' "$now" | grep -q '^[[:space:]]*\[plugins' && return 0 ;;
        2) ;;
        *) [ "$(major)" != 1 ] || return 0 ;;
    esac
    printf '%s\n' "$now"
}

# settings VERSION REGISTRIES - our keys: table, key, value and how, separated by tabs. How: `set`; `has` (a list or path that names this text is left
# alone); `drop`.
settings() {
    if [ "$1" -ge 3 ]; then
        images='plugins."io.containerd.cri.v1.images"' runtime='plugins."io.containerd.cri.v1.runtime"'
        row "$images.pinned_images" sandbox "\"$PAUSE_IMAGE\"" set
        row "$runtime.cni" bin_dir '' drop
        row "$runtime.cni" bin_dirs '["/opt/cni/bin"]' has
    else
        images='plugins."io.containerd.grpc.v1.cri"' runtime='plugins."io.containerd.grpc.v1.cri"'
        row "$images" sandbox_image "\"$PAUSE_IMAGE\"" set
        row "$runtime.cni" bin_dir '"/opt/cni/bin"' set
    fi
    if oom_restricted; then
        row "$runtime" restrict_oom_score_adj true set
    fi
    row "$runtime.cni" conf_dir '"/etc/cni/net.d"' set
    if [ "$2" = 0 ]; then
        row "$images.registry" config_path '"/etc/containerd/certs.d"' has
    fi
    row "$runtime.containerd.runtimes.runc" runtime_type '"io.containerd.runc.v2"' set
    row "$runtime.containerd.runtimes.runc.options" SystemdCgroup true set
}

row() { printf '%s\t%s\t%s\t%s\n' "$@"; }

# Does this text name mirrors or TLS settings of registries itself? containerd refuses them together with config_path.
own_registries() {
    printf '%s\n' "$1" | grep -Eq '^[[:space:]]*\[plugins\..*\.registry\.(mirrors\.|configs\..*\.tls)'
}

text() {
    now=$(current)
    version=$(version_of "$now")
    if [ "$version" -lt 2 ]; then
        version=3
        [ "$(major)" != 1 ] || version=2
    fi
    registries=0
    if own_registries "$now"; then
        registries=1
    fi
    printf '%s\n\001\n%s\n' "$(settings "$version" "$registries")" "${now:-# written by kbootstrap}" |
        awk -v version="$version" "$EDIT"
}

# awk: read the settings and a config, and print the config with the settings.
# shellcheck disable=SC2016 # the fields are awk's
EDIT='
    BEGIN { FS = "\t" }
    /^\001$/ { told = 1; next }
    !told {
        count++; table[count] = $1; key[count] = $2; value[count] = $3; how[count] = $4
        next
    }
    { line[++lines] = $0 }

    function header(text) {
        if (text !~ /^[ \t]*\[[^\[]/ || text ~ /=/) return ""
        sub(/^[ \t]*\[[ \t]*/, "", text); sub(/[ \t]*\][ \t]*(#.*)?$/, "", text)
        gsub(/\047/, "\"", text)
        return text
    }
    function name(text) {
        if (text !~ /^[ \t]*[A-Za-z0-9_"\047-]+[ \t]*=/) return ""
        sub(/^[ \t]*/, "", text); sub(/[ \t]*=.*/, "", text); gsub(/["\047]/, "", text)
        return text
    }
    # The last line of the value that begins in this line: a list may go on for several.
    function last(i) {
        if (line[i] ~ /=[ \t]*\[/) while (i < lines && line[i] !~ /\][ \t]*(#.*)?$/) i++
        return i
    }
    function indent(text) { sub(/[^ \t].*/, "", text); return text }
    function bare(text) { gsub(/[]["]/, "", text); return text }
    function ours(where, what,   j) {
        for (j = 1; j <= count; j++) if (table[j] == where && key[j] == what) return j
        return 0
    }
    function added(where, space,   j) {
        for (j = 1; j <= count; j++)
            if (table[j] == where && how[j] != "drop" && !((where, key[j]) in there)) {
                print space key[j] " = " value[j]
                there[where, key[j]] = 1
            }
    }
    function keyline(i, end, at, what,   j, all, k) {
        j = ours(at, what)
        for (k = i; k <= end; k++) all = all line[k]
        if (j && how[j] == "drop") return
        if (j && how[j] == "has" && index(all, bare(value[j]))) j = 0
        else if (j && how[j] == "has" && value[j] ~ /^\[/ && all ~ /=[ \t]*\[[ \t]*[^] \t]/) {
            sub(/\[/, "[" substr(value[j], 2, length(value[j]) - 2) ", ", line[i]); j = 0
        }
        if (j) { print indent(line[i]) what " = " value[j]; return }
        for (k = i; k <= end; k++) {
            if (at == "" && what == "version") line[k] = "version = " version
            if (at == "" && what == "disabled_plugins")
                gsub(/["\047](io\.containerd\.(grpc\.v1\.cri|cri\.v1\.(images|runtime))|cri)["\047][ \t]*,?[ \t]*/, "", line[k])
            if (at ~ /\.runtimes\..*\.options$/ && what == "SystemdCgroup") sub(/=[ \t]*false/, "= true", line[k])
            print line[k]
        }
    }
    END {
        at = ""
        for (i = 1; i <= lines; i++) {
            if (header(line[i]) != "") { at = header(line[i]); known[at] = 1 }
            else if (name(line[i]) != "") { there[at, name(line[i])] = 1; i = last(i) }
        }
        if (!(("", "version") in there)) {
            if (line[1] ~ /^# written by kbootstrap/) { print line[1]; line[1] = "" ; skip = 1 }
            print "version = " version
        }
        at = ""
        for (i = 1 + skip; i <= lines; i++) {
            if (header(line[i]) != "") { at = header(line[i]); print line[i]; added(at, indent(line[i]) "  "); continue }
            if (name(line[i]) == "") { print line[i]; continue }
            end = last(i)
            keyline(i, end, at, name(line[i]))
            i = end
        }
        for (j = 1; j <= count; j++)
            if (how[j] != "drop" && !(table[j] in known)) { known[table[j]] = 1; print "[" table[j] "]"; added(table[j], "  ") }
    }
'

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
    if [ "$HOSTS" = 1 ] && own_registries "$wanted"; then
        fail "$CONFIG names mirrors or TLS settings of registries, and containerd refuses those together with the inventory's" \
            "Move them to /etc/containerd/certs.d/REGISTRY/hosts.toml, or to runtime.mirrors in the inventory. [container-runtime]"
    fi
    put_file "$CONFIG" 644 "$wanted"
    put_file /etc/crictl.yaml 644 "$(crictl_text)"
    run systemctl daemon-reload
    service_on containerd
    state_folder
    printf '%s' "$wanted" | cksum >"$MARKER"
}
