# shellcheck shell=sh
# overlay for containerd's snapshots, br_netfilter so that bridged pod traffic passes iptables (Flannel needs it).
# Params: MODULES

FILE=/etc/modules-load.d/kubernetes.conf

text() { printf '%s\n' "$MODULES" | tr ' ' '\n'; }

# Loaded, or built into the kernel.
loaded() {
    grep -qs "^$1 " /proc/modules || grep -qs "/$1\.ko" "/lib/modules/$(uname -r)/modules.builtin"
}

check() {
    found=0
    file_is "$FILE" "$(text)" || found=1
    for module in $MODULES; do
        if ! loaded "$module"; then
            echo "module $module is not loaded"
            found=1
        fi
    done
    return "$found"
}

# Some kernels have these modules in a package of their own (EL 10's cloud images).
install_missing() {
    for module in $MODULES; do
        if ! loaded "$module" && ! modprobe -n -q "$module"; then
            pkg_install "$(pkg_modules)"
            return
        fi
    done
}

apply() {
    install_missing
    put_file "$FILE" 644 "$(text)"
    for module in $MODULES; do
        run modprobe "$module"
    done
}
