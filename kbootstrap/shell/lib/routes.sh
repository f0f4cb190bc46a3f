# shellcheck shell=sh
# routes.sh - interfaces and routes of Flannel on this host.

# pod_links POD_CIDR - print Flannel's interfaces, a line each: cni0 only with an address of that network, because other
# runtimes use the name too.
pod_links() {
    for kb_link in flannel.1 flannel-v6.1; do
        if [ -e "/sys/class/net/$kb_link" ]; then
            echo "$kb_link"
        fi
    done
    if [ -e /sys/class/net/cni0 ]; then
        ip -o -4 addr show dev cni0 | awk -v cidr="$1" '
            function number(text, part) { split(text, part, "."); return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4] }
            BEGIN { split(cidr, net, "/"); size = 2 ^ (32 - net[2]) }
            int(number($4) / size) == int(number(net[1]) / size) { print "cni0"; exit }'
    fi
}

# pod_routes POD_CIDR [NODES] - print the routes to parts of the pod network through other hosts, a line each, as Flannel's
# backend host-gw makes them: those through one of the NODES, where there are any.
pod_routes() {
    ip -4 route show root "$1" 2>/dev/null | awk -v cidr="$1" -v nodes=" ${2:-} " '
        $1 != cidr && $2 == "via" && $4 == "dev" && $5 !~ /^(cni|flannel)/ && (nodes ~ /^ *$/ || index(nodes, " " $3 " ")) {
            print $1, $2, $3, $4, $5
        }'
}

# delete_route ROUTE - a line of pod_routes.
delete_route() {
    # shellcheck disable=SC2086 # words
    run ip -4 route delete $1
}
