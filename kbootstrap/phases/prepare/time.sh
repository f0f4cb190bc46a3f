# shellcheck shell=sh
# chrony, installed, configured and running, and no other service beside it that sets the clock: certificates fail when clocks
# differ (x509: not yet valid).
# Params: SERVERS (names or addresses; empty keeps the servers the OS comes with)

config() {
    if [ -f /etc/chrony/chrony.conf ] || [ -d /etc/chrony ]; then
        echo /etc/chrony/chrony.conf
    else
        echo /etc/chrony.conf
    fi
}

unit() {
    if [ "$(config)" = /etc/chrony.conf ]; then
        echo chronyd
    else
        echo chrony
    fi
}

block() {
    echo "# kbootstrap begin"
    for server in $SERVERS; do
        echo "server $server iburst"
    done
    echo "# kbootstrap end"
}

there() { sed -n '/^# kbootstrap begin$/,/^# kbootstrap end$/p' "$(config)"; }

# Our servers replace those of the OS, whose lines become comments.
servers_are() {
    [ -z "$SERVERS" ] && return 0
    [ "$(there)" = "$(block)" ] && return 0
    echo "~ $(config): servers $SERVERS"
    return 1
}

check() {
    if [ -z "$(pkg_version chrony)" ]; then
        echo "+ chrony"
        return 1
    fi
    found=0
    servers_are || found=1
    service_is "$(unit)" || found=1
    # shellcheck disable=SC2086 # names are words
    for service in $(services_on $KB_CLOCKS); do
        echo "$service is on"
        found=1
    done
    return "$found"
}

apply() {
    # Installing and starting chrony turns the other time services off.
    if [ -z "$(pkg_version chrony)" ] || ! service_is "$(unit)" >/dev/null; then
        # shellcheck disable=SC2046,SC2086 # names are words
        save_unit_state chronyd chrony systemd-timesyncd $(services_on $KB_CLOCKS)
    fi
    if [ -z "$(pkg_version chrony)" ]; then
        pkg_install chrony
    fi
    # shellcheck disable=SC2086 # names are words
    services_off $KB_CLOCKS
    if ! servers_are >/dev/null; then
        rest=$(sed -e '/^# kbootstrap begin$/,/^# kbootstrap end$/d' \
            -e 's/^\(server\|pool\|sourcedir\) /# off by kbootstrap: &/' "$(config)")
        put_file "$(config)" 644 "$rest
$(block)"
    fi
    service_on "$(unit)"
}
