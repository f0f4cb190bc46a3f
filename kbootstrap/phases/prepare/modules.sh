# shellcheck shell=sh
# overlay for containerd's snapshots, br_netfilter so that bridged pod traffic passes iptables (Flannel needs it).
# Params: MODULES, NEEDED (also those that others load later)

FILE=/etc/modules-load.d/kubernetes.conf

text() { printf '%s\n' "$MODULES" | tr ' ' '\n'; }

# Loaded, or built into the kernel.
loaded() {
    grep -qs "^$1 " /proc/modules || grep -qs "/$1\.ko" "/lib/modules/$(uname -r)/modules.builtin"
}

check() {
    found=0
    file_is "$FILE" "$(text)" || found=1
    if have modprobe && [ -n "$(lacking)" ] && pkg_has_modules; then
        lacking | sed 's/^/the kernel has no module /'
        found=1
    fi
    for module in $MODULES; do
        if ! loaded "$module"; then
            echo "module $module is not loaded"
            found=1
        fi
    done
    return "$found"
}

# Some kernels have modules in a package of their own (EL 10's cloud images).
lacking() {
    for module in $NEEDED; do
        if ! loaded "$module" && [ ! -d "/sys/module/$module" ] && ! modprobe -n -q "$module" 2>/dev/null; then
            echo "$module"
        fi
    done
}

apply() {
    if [ -n "$(lacking)" ] && pkg_has_modules; then
        pkg_install "$(pkg_modules)"
    fi
    put_file "$FILE" 644 "$(text)"
    for module in $MODULES; do
        run modprobe "$module"
    done
}
