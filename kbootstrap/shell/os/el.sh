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

# pkg_install NAME[=VERSION]... - install exactly these; the excludes of our own repositories do not apply.
pkg_install() {
    kb_names=''
    for kb_name in "$@"; do
        kb_names="$kb_names $(printf '%s' "$kb_name" | tr '=' '-')"
    done
    packages_before
    # shellcheck disable=SC2046,SC2086 # names and options are words
    run_packages "$(kb_tool)" -y --setopt=exit_on_lock=1 $(kb_no_excludes) install $kb_names
    packages_after
}

# What the package manager prints when another one holds its lock, and when another try would not help.
kb_lock_errors() { echo 'already locked by|[Ee]xisting lock|holding the yum lock|transaction lock'; }

kb_final_errors() {
    printf '%s|' 'Unable to find a match' 'No match for argument' 'No package .* available' 'nothing provides' \
        'filtered out by exclude' 'Status code: 4' 'HTTP Error 4' 'conflicts with' 'conflicting requests' \
        'Failed to resolve the transaction' 'Transaction (check|test) error' 'No URLs in mirrorlist' \
        'not registered' 'no enabled repo' 'rpmdb open failed' 'annot open Packages' 'Berkeley DB' 'DB_RUNRECOVERY'
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
    # Only our repositories: one of the others that does not answer would end the question. So would one that is not there.
    kb_ours=''
    for kb_name in docker kubernetes; do
        if [ -e "$(repo_file "$kb_name")" ]; then
            kb_ours="$kb_ours --enablerepo=$kb_name"
        fi
    done
    # shellcheck disable=SC2046,SC2086 # options are words
    "$(kb_tool)" -q -y $(kb_no_excludes) --disablerepo='*' $kb_ours --showduplicates list "$1" 2>/dev/null |
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
        echo --setopt=disable_excludes=docker,kubernetes
    else
        echo --disableexcludes=docker --disableexcludes=kubernetes
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

# key_replaced FINGERPRINT... - drop these keys from rpm's database, so that the next installation reads the new copies.
key_replaced() {
    for kb_key in "$@"; do
        kb_key=$(printf '%s' "$kb_key" | tail -c 8 | tr 'A-F' 'a-f')
        for kb_old in $(rpm -q gpg-pubkey 2>/dev/null | grep -e "-$kb_key-"); do
            run rpm -e "$kb_old"
        done
    done
}

# --- repositories of others ---------------------------------------------------------------------------------------------

# dead_sources - print the files with repositories whose servers are gone for ever: CentOS Linux 7, 8 and Stream 8
# (mirrorlist.centos.org, July 2024), and Google's Kubernetes packages (March 2024).
dead_sources() {
    for kb_file in /etc/yum.repos.d/*.repo; do
        if [ -f "$kb_file" ] && ! live_source "$kb_file" | cmp -s - "$kb_file"; then
            echo "$kb_file"
        fi
    done
}

# live_source FILE - its text with the archive's addresses in place of those that are gone. VAULT is the archive of this
# release. Repositories that the archive does not have are switched off.
live_source() { kb_repos <"$1"; }

# rival_sources ID URL SUITE - print the files other than ours with a repository of the same ID: dnf would use only one of the two.
rival_sources() {
    for kb_file in /etc/yum.repos.d/*.repo; do
        if [ -f "$kb_file" ] && [ "$kb_file" != "$(repo_file "$1")" ] &&
            ! without_rival "$kb_file" "$1" | cmp -s - "$kb_file"; then
            echo "$kb_file"
        fi
    done
}

# without_rival FILE ID URL SUITE - its text with that repository switched off.
without_rival() { kb_repos "$2" <"$1"; }

# kb_repos [ID] - a .repo file on stdin: without an ID, replace or switch off what is gone; with one, switch off that section.
kb_repos() {
    awk -v id="${1:-}" -v vault="${VAULT:-}" '
        BEGIN {
            old = vault ~ /7\.9\.2009$/
            known = old ? " os updates extras centosplus fasttrack " : " BaseOS AppStream PowerTools HighAvailability extras centosplus "
        }
        function end_section(   i, name, off, there) {
            for (i = 1; i <= n && id == ""; i++) {
                if (line[i] ~ /^(baseurl|mirrorlist|metalink) *= *https?:\/\/(packages\.cloud\.google\.com\/yum\/repos\/kubernetes-|yum\.kubernetes\.io)/) off = 1
                if (line[i] ~ /^mirrorlist *= *https?:\/\/mirrorlist\.centos\.org\//) {
                    name = line[i]; sub(/.*[?&]repo=/, "", name); sub(/&.*/, "", name)
                    if (vault != "" && index(known, " " name " "))
                        line[i] = "baseurl=" vault "/" name "/$basearch/" (old ? "" : "os/")
                    else off = 1
                }
                if (line[i] ~ /^baseurl *= *https?:\/\/mirror\.centos\.org\//) {
                    if (vault != "") sub(/=.*mirror\.centos\.org\/[^\/]+\/[^\/]+/, "=" vault, line[i])
                    else off = 1
                }
            }
            if (id != "" && n && line[1] ~ "^\\[" id "\\]") off = 1
            for (i = 1; i <= n && off; i++) if (line[i] ~ /^enabled *= *(0|[Nn]o|[Ff]alse) *$/) there = 1
            for (i = 1; i <= n; i++) {
                if (off && !there && line[i] ~ /^enabled *=/) continue
                print line[i]
                if (off && !there && i == 1) print "enabled=0"
            }
            n = 0
        }
        /^\[/ { end_section() }
        { line[++n] = $0 }
        END { end_section() }'
}

# pkg_ask - ask the package manager whether it can use its repositories, as an installation would. Those that are replaced later
# are left out.
pkg_ask() {
    kb_left_out=''
    for kb_file in $(dead_sources); do
        kb_left_out="$kb_left_out $(sed -n 's/^\[\([A-Za-z0-9._:-]*\)\].*/--disablerepo=\1/p' "$kb_file" | tr '\n' ' ')"
    done
    # yum 3 loads the lists of all files too, unless it is told to be fast. A yum that is dnf does not know the word.
    kb_fast=''
    case $("$(kb_tool)" --version 2>/dev/null | head -n 1) in
        3.*) kb_fast=fast ;;
    esac
    # shellcheck disable=SC2086 # options are words
    "$(kb_tool)" -q -y --setopt=exit_on_lock=1 $kb_left_out makecache $kb_fast 2>&1
}

# pkg_modules - print the package with more modules for the running kernel.
pkg_modules() { echo "kernel-modules-extra-$(uname -r)"; }

# pkg_has_modules - can it be installed?
pkg_has_modules() { "$(kb_tool)" -q -y list --available "$(pkg_modules)" >/dev/null 2>&1; }

# pkg_excluded NAME... - print the settings that keep the package manager from installing one of these.
pkg_excluded() {
    sed -n 's/^\(exclude\|excludepkgs\) *= *//p' /etc/dnf/dnf.conf /etc/yum.conf 2>/dev/null | tr ' ,' '\n' | sort -u |
        while read -r kb_pattern; do
            for kb_name in "$@"; do
                # shellcheck disable=SC2254 # a pattern
                case $kb_name in
                    $kb_pattern) echo "exclude=$kb_pattern in $(grep -lsF -e "$kb_pattern" /etc/dnf/dnf.conf /etc/yum.conf | head -n 1)" ;;
                esac
            done
        done
}

# pkg_conflicts - print the installed packages that containerd.io cannot be installed beside: it has a runc of its own.
pkg_conflicts() {
    if [ -z "$(pkg_version containerd.io)" ] && [ -n "$(pkg_version runc)" ]; then
        for kb_name in runc podman buildah skopeo cri-o; do
            if [ -n "$(pkg_version "$kb_name")" ]; then
                echo "$kb_name"
            fi
        done
    fi
}
