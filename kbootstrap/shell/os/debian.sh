# shellcheck shell=sh
# debian.sh - packages and repositories on Debian, Ubuntu and their kin: dpkg below, apt above.
# el.sh defines the same functions.
# requires: network packages state

kb_keys=/etc/apt/keyrings
DEBIAN_FRONTEND=noninteractive
NEEDRESTART_MODE=a
export DEBIAN_FRONTEND NEEDRESTART_MODE

# pkg_version NAME - the installed upstream version, or nothing.
pkg_version() {
    kb_found=$(dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2>/dev/null) || return 0
    case $kb_found in
        'installed '*) printf '%s\n' "$kb_found" | sed 's/^installed \([0-9]*:\)\{0,1\}//; s/-[^-]*$//' ;;
    esac
}

# pkg_install NAME[=VERSION]... - install exactly these, held ones too. Fetch the package lists where a name is not known.
pkg_install() {
    kb_names=''
    for kb_name in "$@"; do
        case $kb_name in
            *=*) kb_names="$kb_names $kb_name-*" ;;
            *) kb_names="$kb_names $kb_name" ;;
        esac
    done
    packages_before
    if ! kb_known; then
        run_packages kb_apt update
        if kb_lists_missing && ! kb_known; then
            kb_names_hint
            return 100
        fi
    fi
    finish_dpkg
    # shellcheck disable=SC2086 # names are words
    run_packages kb_apt install --yes --no-install-recommends --allow-change-held-packages --allow-downgrades $kb_names
    packages_after
}

# pkg_list - every installed package, sorted.
pkg_list() {
    # shellcheck disable=SC2016 # dpkg's own variables
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort -u
}

# pkg_remove NAME... - remove only these, with their configuration. dpkg refuses where another package needs one.
pkg_remove() { run_packages dpkg --purge "$@"; }

kb_apt() { apt-get -q -o Dpkg::Options::=--force-confold "$@"; }

# shellcheck disable=SC2086 # names are words
kb_known() { kb_apt install --simulate $kb_names >/dev/null 2>&1; }

# kb_lists_missing - could a package list not be fetched? For apt that is only a warning.
kb_lists_missing() { grep -q 'index files failed to download' "$KB_DIR/output"; }

# What apt and dpkg print when another one holds their lock, and when another try would not help.
kb_lock_errors() { echo 'Could not get lock|Unable to (acquire|lock)|locked by another process'; }

kb_final_errors() {
    printf '%s|' 'Unable to locate package' 'no installation candidate' 'Version .* was not found' 'unmet dependencies' \
        'held broken packages' 'is not valid yet' "changed its '[A-Za-z]*' value" 'Conflicting values set for option' \
        'list of sources could not be read' 'ertificate verification failed' 'not considered secure'
    echo 'NO_PUBKEY|BADSIG|EXPKEYSIG|is not signed|does not have a Release file'
}

# finish_dpkg - a dpkg that was killed (power, OOM) leaves its journal, and apt refuses to work until dpkg has finished.
finish_dpkg() {
    if [ -n "$(find /var/lib/dpkg/updates -type f 2>/dev/null)" ]; then
        run_packages dpkg --configure -a
    fi
}

# pkg_hold NAME... - ordinary upgrades leave these alone.
pkg_hold() {
    for kb_name in "$@"; do
        if ! pkg_is_held "$kb_name" >/dev/null; then
            save_state hold "$kb_name"
        fi
    done
    run apt-mark hold "$@"
}

pkg_unhold() { run apt-mark unhold "$@"; }

pkg_is_held() {
    kb_held=$(apt-mark showhold)
    for kb_name in "$@"; do
        if ! printf '%s\n' "$kb_held" | grep -qx "$kb_name"; then
            echo "$kb_name is not held"
            return 1
        fi
    done
}

# pkg_newest NAME PREFIX - the newest version the repositories have that begins with "PREFIX.".
pkg_newest() {
    apt-cache madison "$1" 2>/dev/null |
        awk -F '|' -v prefix="$2." '{ gsub(/ /, "", $2); sub(/-[^-]*$/, "", $2); if (index($2, prefix) == 1) print $2 }' |
        sort -V | tail -n 1
}

# repo_text ID NAME URL SUITE EXCLUDE SIGNED - the repository's file; apt always checks signed metadata.
repo_text() {
    printf '# written by kbootstrap: %s\ndeb [signed-by=%s] %s %s\n' "$2" "$(key_file "$1")" "$3" "$4"
}

repo_file() { echo "/etc/apt/sources.list.d/$1.list"; }

key_file() { echo "$kb_keys/$1.asc"; }

# key_blocks FINGERPRINT... - a line for each armor block of a key file: apt reads only the first block.
key_blocks() { echo "$*"; }

# repo_refresh ID - fetch the lists of this repository.
repo_refresh() {
    run_packages kb_apt update -o "Dir::Etc::sourcelist=$(repo_file "$1")" -o Dir::Etc::sourceparts=- \
        -o APT::Get::List-Cleanup=0
    if kb_lists_missing; then
        kb_names_hint
        return 100
    fi
}

# key_replaced FINGERPRINT... - nothing to do: apt reads the key file each time.
key_replaced() { :; }

# --- repositories of others ---------------------------------------------------------------------------------------------

# dead_sources - print the files with repositories whose servers are gone for ever: Google's Kubernetes packages (March 2024).
dead_sources() { kb_differing kb_gone; }

# live_source FILE - its text with these entries switched off.
live_source() { kb_gone "$1"; }

kb_gone() {
    kb_entries "$1" 'https?://(apt\.kubernetes\.io|packages\.cloud\.google\.com/apt)/*' 'kubernetes-[a-z]+'
}

# rival_sources ID URL SUITE - print the files other than ours with the same repository: apt stops at a second Signed-By for it.
rival_sources() {
    kb_differing kb_rival "$2" "$3" | grep -vxF "$(repo_file "$1")" || true
}

# without_rival FILE ID URL SUITE - its text with that repository switched off.
without_rival() { kb_rival "$1" "$3" "$4"; }

# kb_rival FILE URL SUITE
kb_rival() { kb_entries "$1" "$(kb_literal "${2%/}")/*" "$(kb_literal "${3%% *}")"; }

kb_literal() { printf '%s' "$1" | sed 's/[][\.*^$+?(){}|]/\\&/g'; }

# kb_differing FUNCTION ARGUMENT... - print the files of sources that the function would change.
kb_differing() {
    for kb_file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if [ -f "$kb_file" ] && ! "$1" "$kb_file" ${2:+"$2" "$3"} | cmp -s - "$kb_file"; then
            echo "$kb_file"
        fi
    done
}

# kb_entries FILE URL SUITE - print the file with the entries switched off whose URL and suite match these patterns.
kb_entries() {
    case $1 in
        *.sources) kb_stanzas "$@" ;;
        *) kb_lines "$@" ;;
    esac
}

kb_lines() {
    KB_URL="^$2\$" KB_SUITE="^$3\$" awk '
        /^[ \t]*deb(-src)?[ \t]/ {
            entry = $0
            sub(/^[ \t]*deb(-src)?[ \t]+/, "", entry)
            sub(/^\[[^]]*\][ \t]*/, "", entry)
            split(entry, word, /[ \t]+/)
            if (word[1] ~ ENVIRON["KB_URL"] && word[2] ~ ENVIRON["KB_SUITE"]) $0 = "# off by kbootstrap: " $0
        }
        { print }' "$1"
}

# A stanza with several addresses is switched off as a whole.
kb_stanzas() {
    KB_URL="^$2\$" KB_SUITE="^$3\$" awk '
        function has(field, pattern,   i, k, word, count) {
            for (i = 1; i <= n; i++) {
                if (tolower(line[i]) !~ "^" field ":") continue
                count = split(line[i], word, /[ \t]+/)
                for (k = 2; k <= count; k++) if (word[k] ~ pattern) return 1
            }
            return 0
        }
        function end_stanza(   i, off, there) {
            off = has("uris", ENVIRON["KB_URL"]) && has("suites", ENVIRON["KB_SUITE"])
            for (i = 1; i <= n && off; i++) if (tolower(line[i]) ~ /^enabled:[ \t]*(no|false|0)/) there = 1
            if (off && !there) print "Enabled: no"
            for (i = 1; i <= n; i++) if (!off || there || tolower(line[i]) !~ /^enabled:/) print line[i]
            n = 0
        }
        /^[ \t]*$/ { end_stanza(); print; next }
        { line[++n] = $0 }
        END { end_stanza() }' "$1"
}

# pkg_ask - ask the package manager whether it can use its sources and the packages that are there.
pkg_ask() { kb_apt -s -o Debug::NoLocking=1 install 2>&1; }

# pkg_modules - print the package with more modules for the running kernel: Ubuntu's cloud kernels have one.
pkg_modules() { echo "linux-modules-extra-$(uname -r)"; }

# pkg_has_modules - can it be installed?
pkg_has_modules() { [ -n "$(apt-cache madison "$(pkg_modules)" 2>/dev/null)" ]; }

# pkg_excluded NAME... - nothing: holds do not apply to what we install.
pkg_excluded() { :; }

# pkg_conflicts - print the installed packages that containerd.io cannot be installed beside: nothing, apt removes those.
pkg_conflicts() { :; }
