# shellcheck shell=sh
# restore.sh - words for steps that take a host out of its cluster, and that put back what was there before kbootstrap.
# `init` and `join` use the first half on a host where an earlier try broke off, `reset` uses both.

# --- a host without its cluster --------------------------------------------------------------------------------------

CLUSTER_FOLDERS="/etc/kubernetes /var/lib/etcd /var/lib/kubelet /var/lib/cni"
NETWORK_LINKS="cni0 flannel.1 flannel-v6.1 kube-ipvs0"
NETWORK_FILES="/etc/cni/net.d/10-flannel.conflist /opt/cni/bin/flannel /run/flannel"

# cluster_traces - what kubeadm, the kubelet and etcd have left on this host, a line each.
cluster_traces() {
    # shellcheck disable=SC2086 # paths are words
    folder_traces $CLUSTER_FOLDERS
    kb_count=$(pod_containers | wc -l)
    if [ "$kb_count" -gt 0 ]; then
        echo "- $kb_count running containers"
    fi
}

# folder_traces PATH... - those that are there, a line each. A disk of its own stays mounted, and only what is on it counts.
folder_traces() {
    for kb_path in "$@"; do
        if mountpoint -q "$kb_path"; then
            if [ -n "$(find "$kb_path" -mindepth 1 -maxdepth 1 ! -name lost+found)" ]; then
                echo "- everything in $kb_path"
            fi
        elif [ -d "$kb_path" ]; then
            echo "- $kb_path"
        fi
    done
}

# remove_folders PATH... - what folder_traces shows.
remove_folders() {
    for kb_path in "$@"; do
        if mountpoint -q "$kb_path"; then
            find "$kb_path" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +
        else
            rm -rf "$kb_path"
        fi
    done
}

# leave_cluster CRI_SOCKET - kubeadm reset, and the rest of what it speaks of but does not do.
leave_cluster() {
    if have kubeadm; then
        # Without its runtime kubeadm cannot stop the pods.
        if have containerd && ! systemctl is-active --quiet containerd; then
            run systemctl start containerd
        fi
        run kubeadm reset --force --cri-socket "$1"
    fi
    if systemctl is-active --quiet kubelet; then
        run systemctl stop kubelet
    fi
    end_containers
    for kb_path in $(mounts_below /var/lib/kubelet; mounts_below /run/netns/cni-); do
        umount "$(printf '%b' "$kb_path")" || run umount -l "$(printf '%b' "$kb_path")"
    done
    rm -f /run/netns/cni-*
    # shellcheck disable=SC2086 # paths are words
    remove_folders $CLUSTER_FOLDERS
}

# pod_containers - the containers of pods that have a process, a line each; fails when containerd does not say.
pod_containers() {
    if have ctr && systemctl is-active --quiet containerd; then
        kb_tasks=$(ctr -n k8s.io tasks ls) || return 1
        printf '%s\n' "$kb_tasks" | awk '$NF == "RUNNING" { print $1 }'
    fi
}

# end_containers - of pods kubeadm could not stop it only warns, and a kube-proxy that lives on writes its rules anew. Not
# with --all: that looks for processes in the container's cgroups, where those of v1 no longer are after a daemon-reload.
end_containers() {
    kb_left=30
    while :; do
        kb_containers=$(pod_containers) ||
            fail "containerd does not say which containers run" "See journalctl -u containerd on the host."
        if [ -z "$kb_containers" ]; then
            return
        fi
        if [ "$kb_left" -eq 0 ]; then
            fail "containers of pods do not end" "See ctr -n k8s.io tasks ls on the host; what hangs there may need a reboot."
        fi
        for kb_container in $kb_containers; do
            # It may have ended by itself meanwhile.
            ctr -n k8s.io tasks kill --signal SIGKILL "$kb_container" >/dev/null 2>&1 || true
        done
        sleep 1
        kb_left=$((kb_left - 1))
    done
}

# mounts_below PREFIX - the deepest first; blanks in names are written as the kernel writes them.
mounts_below() {
    case $1 in
        *-) kb_below=$1 ;;
        *) kb_below=$1/ ;;
    esac
    awk -v below="$kb_below" 'index($2, below) == 1 { gsub(/\\/, "\\0", $2); print $2 }' /proc/mounts | sort -r
}

# network_traces - what the pod network has left, a line each.
network_traces() {
    for kb_link in $NETWORK_LINKS; do
        if [ -e "/sys/class/net/$kb_link" ]; then
            echo "- network interface $kb_link"
        fi
    done
    for kb_path in $NETWORK_FILES; do
        if [ -e "$kb_path" ]; then
            echo "- $kb_path"
        fi
    done
}

remove_network() {
    for kb_link in $NETWORK_LINKS; do
        if [ -e "/sys/class/net/$kb_link" ]; then
            run ip link delete "$kb_link"
        fi
    done
    for kb_path in $NETWORK_FILES; do
        rm -rf "$kb_path"
    done
}

# rules_undone - input for iptables-restore that takes the chains of kube-proxy, Flannel and the CNI plugins out of
# what iptables-save prints, and the rules of other chains that lead there. Nobody else's rules are written anew.
rules_undone() {
    awk '
        function ours(chain) { return chain ~ /^(KUBE|FLANNEL|CNI)-/ }
        function finish(i) {
            if (table != "" && rules chains != "") {
                printf "%s\n%s", table, rules
                for (i = 1; i <= count; i++) print "-F " name[i]
                for (i = 1; i <= count; i++) print "-X " name[i]
                print "COMMIT"
            }
            rules = chains = ""; count = 0
        }
        /^\*/ { finish(); table = $0; next }
        /^:/ { chain = substr($1, 2); if (ours(chain)) { name[++count] = chain; chains = "some" } next }
        /^-A / && !ours($2) {
            leads = /flanneld (masq|forward)/
            for (i = 3; i < NF; i++) if (($i == "-j" || $i == "-g") && ours($(i + 1))) leads = 1
            if (leads) { sub(/^-A/, "-D"); rules = rules $0 "\n" }
        }
        END { finish() }'
}

# rule_traces - what the cluster has left in the packet filter and in IPVS, a line each.
rule_traces() {
    for kb_tool in iptables ip6tables; do
        if have "$kb_tool-save" && [ -n "$("$kb_tool-save" 2>/dev/null | rules_undone)" ]; then
            echo "- chains of Kubernetes in $kb_tool"
        fi
    done
    for kb_table in $(nft_tables); do
        echo "- nftables table $(printf '%s' "$kb_table" | tr / ' ')"
    done
    if virtual_servers; then
        echo "- the virtual servers of IPVS"
    fi
}

remove_rules() {
    for kb_tool in iptables ip6tables; do
        have "$kb_tool-save" || continue
        kb_undone=$("$kb_tool-save" | rules_undone)
        if [ -n "$kb_undone" ]; then
            printf '%s\n' "$kb_undone" | run "$kb_tool-restore" --noflush
        fi
    done
    for kb_table in $(nft_tables); do
        run nft delete table "${kb_table%/*}" "${kb_table#*/}"
    done
    if virtual_servers; then
        run ipvsadm --clear
    fi
}

# nft_tables - FAMILY/NAME of the tables kube-proxy and Flannel make in their nftables modes.
nft_tables() {
    if have nft; then
        nft list tables 2>/dev/null | awk '$3 ~ /^(kube-proxy|flannel-ipv[46])$/ { print $2 "/" $3 }'
    fi
}

# Only where kube-proxy's own interface says that they are Kubernetes' and nobody else's.
virtual_servers() {
    have ipvsadm && [ -e /sys/class/net/kube-ipvs0 ] && [ "$(wc -l </proc/net/ip_vs)" -gt 3 ]
}

# kubeadm_kept LOG ARGUMENTS... - kubeadm, its output kept in LOG as well: where it stopped is known afterwards.
kubeadm_kept() {
    kb_log=$1
    shift
    kb_report command "kubeadm $*"
    kb_ended=1
    {
        kb_ended=0
        kubeadm "$@" || kb_ended=$?
        echo "$kb_ended" >"$kb_log.status"
    } 2>&1 | (umask 077 && tee "$kb_log")
    read -r kb_ended <"$kb_log.status" || true
    rm -f "$kb_log.status"
    return "$kb_ended"
}

# where_it_stopped LOG - kubeadm's phase, from its own error or else from its last word; nothing where it is not known.
where_it_stopped() {
    [ -r "$1" ] || return 0
    kb_phase=$(sed -n 's/.*error execution phase \([a-z][a-z0-9/-]*\).*/\1/p' "$1" | tail -n 1)
    if [ -z "$kb_phase" ]; then
        kb_phase=$(sed -n 's/^\[\([a-z][a-z0-9/-]*\)\].*/\1/p' "$1" | tail -n 1)
    fi
    printf '%s\n' "$kb_phase"
}

# broken_off WHAT LOG - the line a plan shows for a host that has to be reset first.
broken_off() {
    kb_phase=$(where_it_stopped "$2")
    if [ -n "$kb_phase" ]; then
        echo "! reset this host: $1 failed at $kb_phase"
    else
        echo "! reset this host: an earlier kubeadm $1 did not finish"
    fi
}

# clean_host CRI_SOCKET - as if there had never been a cluster here.
clean_host() {
    leave_cluster "$1"
    remove_network
    remove_rules
}

# --- as it was before ------------------------------------------------------------------------------------------------

# remembered KIND - the keys of a kind.
remembered() {
    if [ -r "$KB_STATE/was" ]; then
        awk -v kind="$1" '$1 == kind { print $2 }' "$KB_STATE/was"
    fi
}

# touched PATTERN... - the files kbootstrap replaced or made whose paths match.
touched() {
    {
        remembered absent
        if [ -d "$KB_STATE/before" ]; then
            find "$KB_STATE/before" -type f ! -name '*.new' | sed "s|^$KB_STATE/before||"
        fi
    } | sort -u | while read -r kb_path; do
        for kb_pattern in "$@"; do
            # shellcheck disable=SC2254 # a pattern
            case $kb_path in
                $kb_pattern) printf '%s\n' "$kb_path" ;;
            esac
        done
    done
}

# was_there PATH - is there a copy from before?
was_there() { [ -e "$KB_STATE/before$1" ]; }

# files_differ PATH... - what is not as it was: changed or new files, and what an interrupted write has left beside them.
files_differ() {
    for kb_path in "$@"; do
        if was_there "$kb_path"; then
            if ! cmp -s "$KB_STATE/before$kb_path" "$kb_path" ||
                [ "$(stat -c '%a %u %g' "$KB_STATE/before$kb_path")" != "$(stat -c '%a %u %g' "$kb_path")" ]; then
                echo "~ $kb_path, as it was before"
            fi
        elif [ -e "$kb_path" ] || [ -L "$kb_path" ]; then
            echo "- $kb_path"
        fi
        for kb_left in "$kb_path".kb??????; do
            if [ -e "$kb_left" ]; then
                echo "- $kb_left"
            fi
        done
    done
}

# put_back PATH... - the files as they were; those that were not there go, with the folders made for them.
put_back() {
    for kb_path in "$@"; do
        rm -f "$kb_path".kb??????
        if was_there "$kb_path"; then
            mkdir -p "$(dirname "$kb_path")"
            kb_new=$(mktemp "$kb_path.kbXXXXXX")
            cp -p "$KB_STATE/before$kb_path" "$kb_new"
            replace_with "$kb_new" "$kb_path" "$(stat -c %a "$kb_new")"
        else
            rm -f "$kb_path"
        fi
        drop_folders "$(dirname "$kb_path")"
    done
}

# drop_folders PATH - this folder and those above it, where kbootstrap made them and nothing is in them.
drop_folders() {
    kb_at=$1
    while recall folder "$kb_at" >/dev/null && rmdir "$kb_at" 2>/dev/null; do
        kb_at=$(dirname "$kb_at")
    done
}

# edits_left PATH SED-SCRIPT - does the file still have lines of ours? Prints what is taken out of it.
edits_left() {
    [ -f "$1" ] || return 0
    if [ "$(sed -e "$2" "$1")" != "$(cat "$1")" ]; then
        echo "~ $1, without the lines of kbootstrap"
    elif was_there "$1" && [ "$(cat "$1")" = "$(cat "$KB_STATE/before$1")" ]; then
        files_differ "$1"
    fi
}

# take_edits_out PATH SED-SCRIPT - our lines out of a file that is somebody else's; where nobody has changed it since, it is
# the very file from before.
take_edits_out() {
    kb_text=$(sed -e "$2" "$1")
    if was_there "$1" && [ "$kb_text" = "$(cat "$KB_STATE/before$1")" ]; then
        put_back "$1"
        return
    fi
    kb_new=$(mktemp "$1.kbXXXXXX")
    cp -p "$1" "$kb_new"
    printf '%s\n' "$kb_text" >"$kb_new"
    replace_with "$kb_new" "$1"
}

# unit_before UNIT - as unit_state; what came with kbootstrap is to be off.
unit_before() {
    kb_was=$(recall unit "$1") || return 1
    case $kb_was in
        absent*) kb_was="disabled inactive" ;;
    esac
    printf '%s\n' "$kb_was"
}

# units_differ UNIT... - what is enabled or runs otherwise than before. A unit whose package is gone has no say, and what
# cannot be enabled or disabled is only asked whether it runs.
units_differ() {
    for kb_unit in "$@"; do
        kb_was=$(unit_before "$kb_unit") || continue
        kb_is=$(unit_state "$kb_unit")
        case $kb_is in
            absent*) continue ;;
            enabled* | disabled* | masked*) ;;
            *) kb_is="${kb_was% *} ${kb_is#* }" ;;
        esac
        if [ "$kb_is" != "$kb_was" ]; then
            printf '~ %s: %s, before: %s\n' "$kb_unit" "$kb_is" "$kb_was"
        fi
    done
}

# units_back UNIT...
units_back() {
    for kb_unit in "$@"; do
        [ -n "$(units_differ "$kb_unit")" ] || continue
        kb_was=$(unit_before "$kb_unit")
        case $kb_was in
            enabled*) run systemctl enable "$kb_unit" ;;
            disabled*) run systemctl disable "$kb_unit" ;;
        esac
        case $kb_was in
            *' active') run systemctl start "$kb_unit" ;;
            *) run systemctl stop "$kb_unit" ;;
        esac
    done
}

# show LINES - what a check prints: the differences, where there are any.
show() {
    if [ -n "$1" ]; then
        printf '%s\n' "$1"
        return 1
    fi
}
