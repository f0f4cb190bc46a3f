# shellcheck shell=sh
# Labels and taints of one node. Other labels and taints stay.
# Params: NODE_NAME, LABELS ("key=value ..."), TAINTS ("key=value:Effect ...")

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

check() {
    if have kubectl && [ -s /etc/kubernetes/admin.conf ]; then
        missing=$(missing_labels && missing_taints)
    else
        missing="$LABELS $TAINTS"
    fi
    if [ -n "$missing" ]; then
        printf '%s\n' "$missing" | tr ' ' '\n' | sed '/^$/d; s/^/+ /'
        return 1
    fi
}

apply() {
    wait_for_api
    for label in $LABELS; do
        run admin label node "$NODE_NAME" "$label" --overwrite
    done
    for taint in $TAINTS; do
        run admin taint node "$NODE_NAME" "$taint" --overwrite
    done
}
