# shellcheck shell=sh
# Waits until chrony has synchronised the clock. Params: SECONDS_TO_WAIT

# The leap status is "Not synchronised" until chrony has chosen a source.
synchronised() { chronyc -n tracking 2>/dev/null | grep '^Leap status' | grep -qv 'Not synchronised'; }

check() {
    if synchronised; then
        return 0
    fi
    echo "the clock is not synchronised"
    return 1
}

apply() {
    left=$SECONDS_TO_WAIT
    while ! synchronised; do
        if [ "$left" -le 0 ]; then
            chronyc -n sources || true
            fail "the clock is not synchronised after $SECONDS_TO_WAIT s" \
                "Can the host reach its time servers (UDP 123)? Set cluster.ntp to servers it can reach."
        fi
        sleep 1
        left=$((left - 1))
    done
}
