# shellcheck shell=sh
# Commands that must be there, and the package that brings each. Params: TOOLS ("command=package ...")

missing() {
    for tool in $TOOLS; do
        if ! have "${tool%%=*}"; then
            echo "${tool#*=}"
        fi
    done | sort -u
}

check() {
    found=$(missing)
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | sed 's/^/+ /'
        return 1
    fi
}

apply() {
    # shellcheck disable=SC2046 # package names are words
    pkg_install $(missing)
}
