# shellcheck shell=sh
# Asks the package manager once whether it can install packages here: with its repositories as they are, except those that
# `up` replaces first. Then looks for what would keep it from installing ours.
# Params: WARN, NAMES (packages), ARCHIVE (a file of the archive that replaces dead repositories; empty: they stay), KEEP (1: they stay)

# The last lines of a program's output that say something, as one line.
last_words() { printf '%s\n' "$1" | grep -v '^[[:space:]]*$' | tail -n 3 | tr '\n' ' ' | cut -c -600; }

sources() {
    dead=$(dead_sources)
    if [ -n "$dead" ] && [ "$KEEP" = 1 ]; then
        requirement package-sources "the servers of these repositories are gone: $(printf '%s' "$dead" | tr '\n' ' ')" \
            "Set cluster.os_repository (vault, or a mirror of vault.centos.org), or correct the files. [package-repository]"
        return
    fi
    if [ -n "$dead" ] && [ -n "$ARCHIVE" ] && have curl && ! said=$(curl -fsSL --connect-timeout 5 --max-time 20 -o /dev/null "$ARCHIVE" 2>&1); then
        requirement package-sources "cannot fetch $ARCHIVE (${said#curl: })" \
            "The archive replaces repositories that are gone. Set cluster.os_repository to a mirror of it that this host reaches. [package-repository]"
    fi
    if ! said=$(pkg_ask) && ! printf '%s' "$said" | grep -Eq "$(kb_lock_errors)"; then
        requirement package-sources "the package manager cannot use its repositories: $(last_words "$said")" \
            "Correct or switch off the repository that it names (dnf config-manager --set-disabled ID, or a file in /etc/apt/sources.list.d). [package-repository]"
    fi
}

check() {
    sources
    # shellcheck disable=SC2086 # names are words
    pkg_excluded $NAMES | sort -u | while read -r setting; do
        requirement package-excludes "a setting keeps packages of Kubernetes back: $setting" "Remove it from that setting on the host. [package-held]"
    done
    conflicts=$(pkg_conflicts | tr '\n' ' ')
    if [ -n "$conflicts" ]; then
        requirement package-conflicts "containerd.io has its own runc and cannot be installed beside: $conflicts" \
            "If nothing here needs them: dnf remove $conflicts [package-conflict]"
    fi
}

apply() { :; }
