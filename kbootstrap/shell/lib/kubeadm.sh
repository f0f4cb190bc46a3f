# shellcheck shell=sh
# kubeadm.sh - run kubeadm and keep its output, so that a later run knows where it stopped.

# kubeadm_kept LOG ARGUMENTS... - run kubeadm, and keep its output in LOG as well.
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

# kubeadm_config - print CONFIG, the documents for kubeadm init. A script that was written before the run may know only a
# minor: then the kubeadm of this host completes it.
kubeadm_config() {
    case $VERSION in
        *.*.*) printf '%s\n' "$CONFIG" ;;
        *) printf '%s\n' "$CONFIG" | sed "s/^\(kubernetesVersion: \)v$VERSION\$/\1$(kubeadm version -o short)/" ;;
    esac
}

# where_it_stopped LOG - print kubeadm's phase, from its error or else from its last line; nothing where it is not known.
where_it_stopped() {
    [ -r "$1" ] || return 0
    kb_phase=$(sed -n 's/.*error execution phase \([a-z][a-z0-9/-]*\).*/\1/p' "$1" | tail -n 1)
    if [ -z "$kb_phase" ]; then
        kb_phase=$(sed -n 's/^\[\([a-z][a-z0-9/-]*\)\].*/\1/p' "$1" | tail -n 1)
    fi
    printf '%s\n' "$kb_phase"
}

# broken_off WHAT LOG - print the line a plan shows for a host that must be reset first.
broken_off() {
    kb_phase=$(where_it_stopped "$2")
    if [ -n "$kb_phase" ]; then
        echo "! reset this host: $1 failed at $kb_phase"
    else
        echo "! reset this host: an earlier kubeadm $1 did not finish"
    fi
}
