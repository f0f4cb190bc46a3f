# shellcheck shell=sh
# network.sh - commands that use the network, and which of their errors are final.

# run_judged PATTERN COMMAND... - run it; end the step at once where another try would not help. Package managers and crictl use
# one exit status for all errors, so match their output: an error that matches PATTERN is final, unless the network caused it.
run_judged() {
    kb_final=$1
    shift
    kb_listen "$@" || kb_judge "$kb_final"
}

# Errors that another try may mend.
kb_network='[Tt]imed out|[Tt]imeout|Could not resolve|no such host|Temporary failure|Connection (reset|refused|failed)|connection (reset|refused)|unexpected EOF|Status code: 5|HTTP Error 5| 50[0-9] '

# kb_names_hint - add a hint where the output says that a name does not resolve. Other names tell whether all of them fail.
kb_names_hint() {
    kb_name=$(kb_unresolved <"$KB_DIR/output")
    if [ -z "$kb_name" ]; then
        return 0
    fi
    for kb_other in pkgs.k8s.io registry.k8s.io download.docker.com; do
        if getent hosts "$kb_other" >/dev/null 2>&1; then
            kb_report hint "This host cannot resolve $kb_name, but other names: is $kb_name gone, or known only to another DNS server? [dns]"
            return 0
        fi
    done
    kb_report hint "This host cannot resolve $kb_name: see /etc/resolv.conf and its name servers there. [dns]"
}

# kb_unresolved - of a program's output on stdin, print the first host name that did not resolve.
kb_unresolved() {
    sed -n -e "s/.*[Cc]ould *n[o']*t resolve host\( name\)\{0,1\}\( for\)\{0,1\}:\{0,1\} *//p" -e "s/.*Could not resolve '//p" \
        -e 's/.*lookup \([^ ]*\).*no such host.*/\1/p' -e "s/.*Temporary failure resolving '//p" \
        -e 's/.*\(Temporary failure in name resolution\).*/names/p' |
        sed -e 's|^[a-z]*://||' -e 's|[^A-Za-z0-9._-].*||' -e '/^$/d' | head -n 1
}

# kb_listen COMMAND... - run it and keep its output. Fails when the command fails.
kb_listen() {
    mkdir -p "$KB_DIR"
    rm -f "$KB_DIR/failed"
    kb_report command "$*"
    { "$@" 2>&1 || echo "$?" >"$KB_DIR/failed"; } | tee "$KB_DIR/output"
    [ ! -e "$KB_DIR/failed" ]
}

# kb_judge PATTERN - end the step where the error is final; else return the command's exit status.
kb_judge() {
    case $(kb_unresolved <"$KB_DIR/output") in
        # It ended in July 2024: neither another try nor another DNS server would help.
        mirrorlist.centos.org)
            fail "a repository of this host asks mirrorlist.centos.org, a server that has ended" "$(kb_final_hint 'No URLs in mirrorlist')"
            ;;
    esac
    if ! grep -Eq "$kb_network" "$KB_DIR/output"; then
        kb_error=$(grep -E "$1" "$KB_DIR/output" | head -n 1)
        if [ -n "$kb_error" ]; then
            fail "$kb_error" "$(kb_final_hint "$kb_error")"
        fi
    fi
    kb_names_hint
    return "$(cat "$KB_DIR/failed")"
}

# kb_final_hint ERROR - what to do about an error that another try would not mend.
kb_final_hint() {
    case $1 in
        *'conflicts with'* | *'conflicting requests'*)
            echo "Remove the package that conflicts, or install what is missing: containerd.io has its own runc, so runc, podman and buildah of EL 8 go (dnf remove runc). [package-conflict]"
            ;;
        *exclude* | *'held broken'*)
            echo "A setting of the host keeps the package back: exclude= in /etc/dnf/dnf.conf or /etc/yum.conf, versionlock (dnf versionlock list), or apt-mark showhold. [package-held]"
            ;;
        *'No URLs in mirrorlist'*) echo "The vendor's servers for this release are gone: the phase prepare replaces them (cluster.os_repository), or correct the file in /etc/yum.repos.d. [package-repository]" ;;
        *'not registered'* | *'no enabled repo'*) echo "Register the host (subscription-manager register), or add a repository with the packages of its OS. [package-repository]" ;;
        *ertificate*) echo "Is there a proxy that opens TLS? Add its CA to the host's trusted certificates. Also check the host's clock. [tls-proxy]" ;;
        *'not valid yet'*) echo "The host's clock is behind: set it (chronyc makestep, or date -s). [clock]" ;;
        *"' value from "*) echo "Run \`apt-get update --allow-releaseinfo-change\` on the host, if you know why it changed. [package-repository]" ;;
        *rpmdb* | *'annot open Packages'* | *'Berkeley DB'* | *DB_RUNRECOVERY*) echo "The host's rpm database is broken: run \`rpm --rebuilddb\` there. [package-database]" ;;
        *'Conflicting values'* | *'list of sources'*) echo "Correct the files in /etc/apt/sources.list.d on the host: \`apt-get update\` names them. [package-repository]" ;;
        *EXPKEYSIG*) echo "The key is too old: run the same command again, which fetches a newer copy where there is one. [package-keys]" ;;
        *'not considered secure'*) echo "This apt refuses the old signature of this repository: take a newer Kubernetes minor, or a mirror that signs anew. [package-keys]" ;;
        *) echo "Another try would not help. Check the addresses, versions and keys in the inventory. [download]" ;;
    esac
}

# fetch URL FILE - download with curl. A file that the server does not have ends the step.
fetch() {
    kb_fetch "$1" "$2"
    if kb_refused; then
        fail "$1: the server answers with status $kb_code" "Is that address right? The inventory, or a mirror it names, has it. [download]"
    fi
    kb_names_hint
    return "$kb_failed"
}

# fetch_first FILE URL... - the same with the first address that the server has. KB_FETCHED is this address.
fetch_first() {
    kb_file=$1
    shift
    while [ $# -gt 1 ]; do
        kb_fetch "$1" "$kb_file"
        kb_refused || break
        shift
    done
    # shellcheck disable=SC2034 # the caller uses it
    KB_FETCHED=$1
    if [ $# -eq 1 ]; then
        fetch "$1" "$kb_file"
    else
        kb_names_hint
        return "$kb_failed"
    fi
}

# kb_fetch URL FILE - try it. kb_failed is curl's exit status, kb_code the server's answer.
kb_fetch() {
    kb_report command "curl -fsSL $1"
    kb_failed=0
    kb_code=$(curl -fsSL --connect-timeout 20 --max-time 120 --max-filesize 1000000 -w '%{http_code}' -o "$2" "$1" \
        2>"$KB_DIR/output") || kb_failed=$?
    cat "$KB_DIR/output"
}

# kb_refused - has the server said that it does not have the file, for good?
kb_refused() {
    case $kb_code in
        408 | 425 | 429) return 1 ;;
        4*) return 0 ;;
        *) return 1 ;;
    esac
}

# reaches ADDRESS:PORT - does a TCP connection open within 5 seconds? Yes where bash or timeout is not installed.
reaches() {
    if have bash && have timeout; then
        timeout 5 bash -c ": </dev/tcp/${1%:*}/${1##*:}" >/dev/null 2>&1
    fi
}
