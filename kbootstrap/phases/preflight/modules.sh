# shellcheck shell=sh
# Looks for the kernel modules that the cluster needs, without loading them. EL 10's cloud images have some of them in a package of
# their own, which `up` installs when the repositories have it for the running kernel.
# Params: WARN, MODULES

missing() {
    for module in $MODULES; do
        if [ ! -d "/sys/module/$module" ] && ! modprobe -n -q "$module" 2>/dev/null; then
            echo "$module"
        fi
    done
}

check() {
    have modprobe || return 0
    absent=$(missing | tr '\n' ' ')
    if [ -n "$absent" ] && ! pkg_has_modules; then
        requirement kernel-modules "kernel $(uname -r) has no module ${absent% }, and there is no package with modules for it" \
            "Update the host and reboot it, so that it runs the newest kernel; or install the modules' package. [kernel-support]"
    fi
}

apply() { :; }
