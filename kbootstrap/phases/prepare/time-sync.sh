# shellcheck shell=sh
# Waits until chrony has synchronised the clock. Params: SECONDS_TO_WAIT

# The leap status is "Not synchronised" until chrony has chosen a source.
synchronised() { timeout 5 chronyc -n tracking 2>/dev/null | grep '^Leap status' | grep -qv 'Not synchronised'; }

check() {
    if synchronised; then
        return 0
    fi
    echo "the clock is not synchronised"
    return 1
}

# The seconds since the host's start. chrony may set the clock meanwhile.
uptime() {
    read -r seconds _ </proc/uptime
    echo "${seconds%.*}"
}

# A slow host needs long for one question, so the seconds are counted, not the questions: the reason is always shown before the
# step's own time is over.
apply() {
    end=$(($(uptime) + SECONDS_TO_WAIT))
    while ! synchronised; do
        if [ "$(uptime)" -ge "$end" ]; then
            timeout 10 chronyc -n sources || true
            fail "the clock is not synchronised after $SECONDS_TO_WAIT s" \
                "Can the host reach its time servers (UDP 123)? Set cluster.ntp to servers it can reach, or cluster.time: ignore where something else keeps the time. [clock]"
        fi
        sleep 1
    done
}
