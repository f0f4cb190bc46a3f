# shellcheck shell=sh
# Package repositories whose servers are gone for ever. yum and dnf load every repository that is enabled, so a dead one ends
# every installation. CentOS 7, 8 and Stream 8 get the archive's addresses; what has no successor is switched off.
# Params: VAULT (the archive of this release; empty where there is none)

check() {
    found=0
    for path in $(dead_sources); do
        file_is "$path" "$(live_source "$path")" || found=1
    done
    return "$found"
}

apply() {
    for path in $(dead_sources); do
        # A separate line: where it fails, the step ends before the file is replaced.
        text=$(live_source "$path")
        put_file "$path" "$(stat -c %a "$path")" "$text"
    done
}
