# shellcheck shell=sh
# el.sh - packages and repositories on CentOS, RHEL and their kin: rpm below, dnf5, dnf or yum above.
# debian.sh defines the same functions.
# requires: network packages state

kb_keys=/etc/pki/rpm-gpg

# pkg_version NAME - the installed upstream version, or nothing.
pkg_version() {
    kb_found=$(rpm -q --qf '%{VERSION}\n' "$1" 2>/dev/null) && printf '%s\n' "$kb_found" | tail -n 1
    return 0
}

# pkg_install NAME[=VERSION]... - install exactly these; the excludes of the kubernetes repository do not apply.
pkg_install() {
    kb_names=''
    for kb_name in "$@"; do
        kb_names="$kb_names $(printf '%s' "$kb_name" | tr '=' '-')"
    done
    packages_before
    # shellcheck disable=SC2086 # names are words
    run_packages "$(kb_tool)" -y --setopt=exit_on_lock=1 "$(kb_no_excludes)" install $kb_names
    packages_after
}

# What the package manager prints when another one holds its lock, and when another try would not help.
kb_lock_errors() { echo 'already locked by|[Ee]xisting lock|holding the yum lock|transaction lock'; }

kb_final_errors() {
    printf '%s|' 'Unable to find a match' 'No package .* available' 'nothing provides' 'Status code: 4' 'HTTP Error 4'
    echo 'GPG check FAILED|Bad GPG signature|Public key for .* not installed'
}

# pkg_list - every installed package, and every key rpm trusts, sorted.
pkg_list() {
    rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n' |
        awk '$1 == "gpg-pubkey" { $1 = $1 "-" $2 } { print $1 }' | sort -u
}

# pkg_remove NAME... - remove only these. rpm refuses where another package needs one.
pkg_remove() { run_packages rpm -e "$@"; }

# pkg_hold NAME... - nothing to do: because of the repository's exclude line ordinary updates leave these alone.
pkg_hold() { :; }

pkg_unhold() { :; }

pkg_is_held() { :; }

# pkg_newest NAME PREFIX - the newest version the repositories have that begins with "PREFIX.".
pkg_newest() {
    "$(kb_tool)" -q -y "$(kb_no_excludes)" --showduplicates list "$1" 2>/dev/null |
        awk -v prefix="$2." '{ sub(/^[0-9]+:/, "", $2); sub(/-.*/, "", $2); if (index($2, prefix) == 1) print $2 }' |
        sort -V | tail -n 1
}

kb_tool() {
    for kb_name in dnf yum; do
        if have "$kb_name"; then
            echo "$kb_name"
            return
        fi
    done
}

kb_no_excludes() {
    if have dnf5; then
        echo --setopt=disable_excludes=kubernetes
    else
        echo --disableexcludes=kubernetes
    fi
}

# repo_text ID NAME URL SUITE EXCLUDE SIGNED - the repository's file; SUITE is Debian's, SIGNED is 1 where its metadata is signed.
repo_text() {
    cat <<TEXT
# written by kbootstrap
[$1]
name=$2
baseurl=$3
enabled=1
gpgcheck=1
repo_gpgcheck=$6
gpgkey=file://$(key_file "$1")
TEXT
    if [ -n "$5" ]; then
        echo "exclude=$5"
    fi
}

repo_file() { echo "/etc/yum.repos.d/$1.repo"; }

key_file() { echo "$kb_keys/RPM-GPG-KEY-$1"; }

# key_blocks FINGERPRINT... - a line for each armor block of a key file: rpm reads only the first key of a block.
key_blocks() { printf '%s\n' "$@"; }

# repo_refresh ID - drop the cached metadata of this repository.
repo_refresh() { run_packages "$(kb_tool)" -q --setopt=exit_on_lock=1 clean metadata --disablerepo='*' --enablerepo="$1"; }
