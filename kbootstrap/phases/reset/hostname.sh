# shellcheck shell=sh
# The original host name.

before() { saved_state hostname name; }

differences() {
    if name=$(before) && [ "$(uname -n)" != "$name" ]; then
        printf -- '- host name %s\n+ host name %s\n' "$(uname -n)" "$name"
    fi
    # shellcheck disable=SC2046 # paths are words
    files_differ $(changed_files /etc/hostname)
}

check() { show "$(differences)"; }

apply() {
    if name=$(before) && [ "$(uname -n)" != "$name" ]; then
        run hostnamectl set-hostname "$name"
    fi
    # The name in the kernel and the one in the file may have differed.
    # shellcheck disable=SC2046 # paths are words
    put_back $(changed_files /etc/hostname)
}
