# shellcheck shell=sh
# Labels and taints of one node. Other labels and taints stay.
# Params: NODE_NAME, LABELS ("key=value ..."), TAINTS ("key=value:Effect ..."), TAINTS_OFF (keys of NoSchedule taints that go)

# A node that does not exist yet has none.
node_taints() {
    admin get node "$NODE_NAME" \
        -o 'jsonpath={range .spec.taints[*]}{.key}={.value}:{.effect}{"\n"}{end}' 2>/dev/null
}

missing_labels() {
    for label in $LABELS; do
        if ! admin get nodes -l "$label" -o name 2>/dev/null | grep -qx "node/$NODE_NAME"; then
            printf '%s\n' "$label"
        fi
    done
}

missing_taints() {
    there=$(node_taints)
    for taint in $TAINTS; do
        case $taint in
            *=*) wanted=$taint ;;
            *) wanted=${taint%%:*}=:${taint#*:} ;;
        esac
        if ! printf '%s\n' "$there" | grep -qxF "$wanted"; then
            printf '%s\n' "$taint"
        fi
    done
}

unwanted_taints() {
    there=$(node_taints)
    for key in $TAINTS_OFF; do
        if printf '%s\n' "$there" | grep -qxF "$key=:NoSchedule"; then
            echo "$key:NoSchedule"
        fi
    done
}

check() {
    missing="$LABELS $TAINTS"
    # kubeadm will give a new node this taint.
    unwanted=${TAINTS_OFF:+${TAINTS_OFF%% *}:NoSchedule}
    if is_control_plane && admin get node "$NODE_NAME" -o name >/dev/null 2>&1; then
        missing=$(missing_labels && missing_taints)
        unwanted=$(unwanted_taints)
    fi
    printf '%s\n' "$missing" | tr ' ' '\n' | sed '/^$/d; s/^/+ /'
    printf '%s\n' "$unwanted" | sed '/^$/d; s/^/~ without the taint /'
    case $missing$unwanted in *[!\ ]*) return 1 ;; esac
}

apply() {
    wait_for_api
    for label in $LABELS; do
        run admin label node "$NODE_NAME" "$label" --overwrite
    done
    for taint in $TAINTS; do
        run admin taint node "$NODE_NAME" "$taint" --overwrite
    done
    for taint in $(unwanted_taints); do
        run admin taint node "$NODE_NAME" "$taint-"
    done
}
