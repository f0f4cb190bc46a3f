# shellcheck shell=sh
# Pods of two nodes reach each other. With FORM=deep: pods of all nodes do, and a Service, DNS and NodePorts are reached too.
# A record says for which nodes this was tested. It counts until a run changes something. The pods are in a namespace of this
# test's own. A test that was killed leaves no record, so the next run tests again, and removes what was left first.
# Params: FORM (packet, deep), EXPECTED (lines "name address": all nodes), TESTED (the same: those that get a pod), HERE (this
# host), OBJECTS (JSON, one per line), POD (JSON), IMAGE, SERVER_PORT, EVERY_PAIR (most nodes for every pair), DOMAIN, TUNNEL
# (UDP port of VXLAN), NODE_PORTS, NETWORK (the network's fingerprint), RETEST (id of a run that tests again), TIMEOUT (seconds)

RECORD=$KB_STATE/pod-network
WORK=$KB_DIR/pod-network
AT_ONCE=8

# Runs in a pod: asks every place on standard input, all at once, and prints a line for each. Arguments: tries, the pod's number.
# shellcheck disable=SC2016
TRY='
    one() {
        left=$tries
        while :; do
            said=$(timeout 5 wget -q -O - "http://$3/" 2>&1)
            case $said in kbootstrap*) said=ok; break ;; esac
            left=$((left - 1))
            [ "$left" -gt 0 ] || break
            sleep 1
        done
        echo "$number $1 $2 $(printf "%s" "${said:-no answer within 5 s}" | tr "\n" " ")"
    }
    tries=$1 number=$2
    while read -r kind target place; do
        [ "$kind" != end ] || break
        one "$kind" "$target" "$place" </dev/null &
    done
    wait
'

# left - seconds until the test has to end.
left() {
    now=$(uptime_seconds)
    echo $((deadline - now))
}

# What the record does not cover; nothing when it covers all.
untested() {
    { cat "$RECORD" 2>/dev/null; printf '\001\n%s\n' "$EXPECTED"; } | awk -v network="$NETWORK" -v run="$RETEST" '
        /^\001$/ { now = 1; next }
        !now && $1 == "node" { tested[$2 " " $3]; next }
        !now { known[$1] = $2; next }
        NF && !(($1 " " $2) in tested) { left = left " " $1 }
        END {
            if (known["network"] != network || left != "") print "packets between pods of these nodes: not tested yet"
            else if (run != "" && known["run"] != run) print "packets between pods: not tested in this run"
        }'
}

check() {
    if ! is_control_plane; then
        echo "known once the cluster exists"
        return 2
    fi
    show "$(untested)"
}

apply() {
    have_cluster
    now=$(uptime_seconds)
    deadline=$((now + TIMEOUT))
    namespace=kbootstrap-test-$$-$now
    before=$(cat "$RECORD" 2>/dev/null) || before=
    rm -rf "$WORK" "$RECORD"
    mkdir -p "$WORK"
    admin delete namespace -l kbootstrap/test=pod-network --wait=false >/dev/null 2>&1 || :
    trap clean_up EXIT
    trap 'exit 143' HUP INT TERM
    make_pods
    wait_for_pods
    list_targets
    ask_from_nodes
    if [ "$FORM" = deep ]; then
        ask_node_ports
    fi
    rows >"$WORK/rows"
    if [ "$FORM" = deep ]; then
        value connections "$(cat "$WORK/rows")"
    fi
    judge
    # First the pods, then the record: who is killed between them tests again, and removes the pods.
    trap - EXIT
    clean_up
    write_record
}

clean_up() {
    rm -rf "$WORK"
    for pause in 1 4 0; do
        admin delete namespace "$namespace" --ignore-not-found --wait=false >/dev/null 2>&1 && return
        sleep "$pause"
    done
    kb_report warning "the namespace $namespace could not be deleted; the next test deletes it"
}

write_record() {
    mkdir -p "$KB_STATE"
    printf '%s\n\001\n%s\n' "$before" "$EXPECTED" | awk -v network="$NETWORK" -v run="$RETEST" '
        BEGIN { print "network " network; print "run " run }
        /^\001$/ { now = 1; next }
        now { if (NF) all["node " $0]; next }
        $1 == "network" { same = ($2 == network) }
        same && $1 == "node" { all[$0] }
        END { for (line in all) print line }' >"$RECORD.new"
    mv "$RECORD.new" "$RECORD"
}

# --- the pods ---

make_pods() {
    # A file that begins with "{" is a stream of JSON for kubectl, which has no separators.
    image=$(flannel_image)
    printf '%s\n\001\n%s\n\001\n%s\n' "$OBJECTS" "$POD" "$TESTED" | awk -v namespace="$namespace" -v image="$image" '
        /^\001$/ { part++; next }
        { gsub(/%NAMESPACE%/, namespace); gsub(/%IMAGE%/, image) }
        !part { print "---"; print }
        part == 1 { pod = $0 }
        part == 2 && NF { one = pod; gsub(/%NUMBER%/, ++count, one); gsub(/%NODE%/, $1, one); print "---"; print one }
    ' >"$WORK/objects"
    made=$(kubectl_admin create --validate=false -f "$WORK/objects" 2>&1) && return
    made=$(printf '%s\n' "$made" | tail -n 1)
    case $FORM$made in
        packet*[Ff]orbidden* | packet*denied*)
            kb_report warning "the cluster refuses the pods of the packet test, so no packet was sent: $made"
            write_record
            exit 0
            ;;
    esac
    fail "the pods of the test cannot be made: $made" "\`kubectl auth can-i create pods\` and the cluster's admission policies say why. [pods-not-ready]"
}

# flannel_image - the image that the nodes have: that of the running DaemonSet, which may be older than this kbootstrap.
flannel_image() {
    image=$(admin -n kube-flannel get daemonset kube-flannel-ds -o 'jsonpath={.spec.template.spec.containers[0].image}' 2>/dev/null) ||
        image=
    echo "${image:-$IMAGE}"
}

wait_for_pods() {
    since=$(uptime_seconds)
    latest=$((TIMEOUT / 2))
    [ "$latest" -lt 120 ] || latest=120
    while :; do
        pods_now >"$WORK/pods"
        grep -q "$(printf '\t')waiting$(printf '\t')" "$WORK/pods" || return 0
        [ "$(left)" -gt $((TIMEOUT - latest)) ] || return 0
        pause_since "$since"
    done
}

# pods_now - a line per node, fields separated by tabs: number, name, state of its pod, the pod's address, the node's, a reason.
pods_now() {
    listed=$(admin -n "$namespace" get pods -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\t"}{.status.podIP}{"\t"}{.status.containerStatuses[*].ready}{"\t"}{.status.reason}{"\t"}{.status.containerStatuses[*].state.waiting}{"\n"}{end}' 2>/dev/null) || listed=
    printf '%s\n\001\n%s\n' "$listed" "$TESTED" | awk -F '\t' "$KB_JSON"'
        BEGIN { OFS = FS }
        /^\001$/ { now = 1; next }
        !now { n = substr($1, 6) + 0; phase[n] = $2; at[n] = $3; ready[n] = $4; why[n] = $5; waits[n] = $6; next }
        NF {
            number++
            split($0, node, " ")
            state = "waiting"
            if (phase[number] == "Failed" || phase[number] == "Succeeded") state = "failed"
            if (phase[number] == "Running" && ready[number] == "true" && at[number] != "") state = "ready"
            reason = why[number] " " text(waits[number], "reason") " " text(waits[number], "message")
            gsub(/^ +| +$/, "", reason)
            if (reason == "") reason = (phase[number] != "") ? phase[number] : "not listed by the API server"
            print number, node[1], state, at[number], node[2], reason
        }'
}

# --- the connections ---

# list_targets - a line per connection to try from a pod: number of that pod, kind, number of the other, place.
list_targets() {
    service=
    if [ "$FORM" = deep ]; then
        service=$(admin -n "$namespace" get service test -o 'jsonpath={.spec.clusterIP} {.spec.ports[0].nodePort}') ||
            fail "the Service of the test cannot be read: $service" "Does the API server answer? See kubectl get --raw /readyz. [api-server]"
    fi
    node_port=${service#* }
    awk -F '\t' -v form="$FORM" -v most="$EVERY_PAIR" -v port="$SERVER_PORT" -v service="${service% *}" \
        -v name="test.$namespace.svc.$DOMAIN" '
        function target(from, to) { print number[from], "pod", number[to], address[to] ":" port }
        BEGIN { OFS = FS }
        $3 == "ready" { count++; number[count] = $1; address[count] = $4 }
        END {
            if (form == "packet") { if (count) target(1, count); exit }
            for (i = 1; i <= count; i++) {
                if (count <= most) { for (j = 1; j <= count; j++) if (i != j) target(i, j) }
                else {
                    target(i, i % count + 1)
                    for (k = 1; k < 5; k++) target(i, (i - 1 + int(count * k / 5)) % count + 1)
                }
                print number[i], "service", "-", service ":" port
                print number[i], "dns", "-", name ":" port
            }
        }' "$WORK/pods" >"$WORK/targets"
}

ask_from_nodes() {
    running=0
    # shellcheck disable=SC2013 # numbers
    for number in $(cut -f 1 "$WORK/targets" | sort -nu); do
        [ "$(left)" -gt 5 ] || break
        ask_from_node "$number" &
        running=$((running + 1))
        if [ "$running" -ge "$AT_ONCE" ]; then
            wait
            running=0
        fi
    done
    wait
}

ask_from_node() {
    limit=$(left)
    [ "$limit" -lt 90 ] || limit=90
    tries=3
    [ "$FORM" = deep ] || tries=6
    awk -F '\t' -v from="$1" '$1 == from { print $2, $3, $4 } END { print "end" }' "$WORK/targets" |
        timeout "$limit" kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/kbootstrap/kubectl \
            -n "$namespace" exec -i "node-$1" -- sh -c "$TRY" try "$tries" "$1" >"$WORK/said.$1" 2>"$WORK/error.$1" ||
        printf '%s %s\n' "$1" "$(tail -n 1 "$WORK/error.$1")" >"$WORK/broken.$1"
}

ask_node_ports() {
    running=0
    while IFS="$(printf '\t')" read -r number _ state _ address _; do
        if [ "$state" = ready ] && [ "$(left)" -gt 5 ]; then
            ask_node_port "$number" "$address" &
            running=$((running + 1))
        fi
        if [ "$running" -ge "$AT_ONCE" ]; then
            wait
            running=0
        fi
    done <"$WORK/pods"
    wait
}

ask_node_port() {
    tries=3
    while :; do
        said=$(curl -sS --noproxy '*' --max-time 5 "http://$2:$node_port/" 2>&1) || :
        case $said in kbootstrap*) said=ok ;; esac
        tries=$((tries - 1))
        if [ "$said" = ok ] || [ "$tries" -eq 0 ]; then
            break
        fi
        sleep 1
    done
    printf '%s node-port - %s\n' "$1" "$(printf '%s' "${said:-no answer within 5 s}" | tr '\n' ' ')" >"$WORK/port.$1"
}

# --- the result ---

# rows - the result, a line per connection, fields separated by tabs: kind, from, to, state, what was said, the likely cause.
rows() {
    {
        cat "$WORK/pods"
        printf '\001\n'
        cat "$WORK/targets"
        printf '\001\n'
        find "$WORK" -name 'said.*' -exec cat {} +
        find "$WORK" -name 'port.*' -exec cat {} +
        printf '\001\n'
        find "$WORK" -name 'broken.*' -exec cat {} +
    } | awk -F '\t' -v here="$HERE" -v tunnel="$TUNNEL" -v node_ports="$NODE_PORTS" -v dns="$(dns_pods)" '
        function rest(line, words) {
            while (words--) sub(/^[^ ]* ?/, "", line)
            gsub(/\t/, " ", line); sub(/ +$/, "", line)
            return line
        }
        function pod_cause(from, to, said) {
            if (from == to) return "The packet filter of " from " may drop forwarded packets (iptables -S FORWARD)."
            if (said ~ /refused/) return "Another network may use the addresses of cluster.network.pod_cidr."
            if (tunnel != "") return "A firewall may drop UDP port " tunnel " (VXLAN) between " from " and " to ". Open it both ways."
            return "host-gw needs " from " and " to " in one layer 2 network that lets pod addresses pass. Else use cluster.network.backend: vxlan."
        }
        # On its own node, a client outside pods is sent to any pod of a Service, also to one on another node.
        function cause(kind, from, to, said) {
            if (kind == "pod") return pod_cause(from, to, said)
            if (kind == "node-port" && (from != to || !(from in cut))) return "A firewall of " to " may drop TCP ports " node_ports ", or kube-proxy does not work there."
            if (kind == "dns" && said ~ /bad address/ && dns == 0)
                return "CoreDNS has no ready pod: kubectl -n kube-system get pods -l k8s-app=kube-dns"
            if (from in cut) return "The pods behind it may be on nodes that " from " does not reach."
            return "kube-proxy on " from " may not work: kubectl -n kube-system logs -l k8s-app=kube-proxy"
        }
        function row(kind, from, to, said) {
            if (said == "ok") print kind, from, to, "ok", "", ""
            else print kind, from, to, "failed", said, cause(kind, from, to, said)
        }
        function node_row(n) {
            if (n in broken) print "node", name[n], "", "failed", broken[n], "A firewall may drop TCP port 10250 of " name[n] "."
            else if (state[n] != "ready") print "node", name[n], "", "failed", why[n], "See journalctl -u kubelet on " name[n] "."
        }
        function target_row(i,   other, said) {
            other = (sort[i] == "pod") ? name[there[i]] : ""
            said = result[start[i], sort[i], there[i]]
            if (said != "") row(sort[i], name[start[i]], other, said)
            else print sort[i], name[start[i]], other, "untested", (start[i] in broken) ? "" : "no time was left", ""
        }
        BEGIN { OFS = FS }
        /^\001$/ { part++; next }
        !part { name[$1] = $2; state[$1] = $3; why[$1] = $6; next }
        part == 1 { start[++count] = $1; sort[count] = $2; there[count] = $3; next }
        part == 2 {
            split($0, word, " ")
            result[word[1], word[2], word[3]] = rest($0, 3)
            if (word[2] == "pod" && word[4] != "ok") cut[name[word[1]]]
            next
        }
        { split($0, word, " "); broken[word[1]] = "kubectl exec: " rest($0, 1) }
        END {
            for (n = 1; n in name; n++) node_row(n)
            for (i = 1; i <= count; i++) target_row(i)
            for (n = 1; n in name; n++) if ((n, "node-port", "-") in result) row("node-port", here, name[n], result[n, "node-port", "-"])
        }'
}

# dns_pods - how many pods of CoreDNS are ready.
dns_pods() {
    [ "$FORM" = deep ] || return 0
    pods -n kube-system -l k8s-app=kube-dns 2>/dev/null | awk -F '\t' '$4 == "true" { count++ } END { print count + 0 }'
}

# judge - end the step unless every connection was tried and worked.
judge() {
    failing=$(awk -F '\t' '
        BEGIN { what["pod"] = "pod to pod"; what["service"] = "Service"; what["dns"] = "DNS"; what["node-port"] = "NodePort"; what["node"] = "test pod" }
        $4 == "failed" { print $2 (($3 != "") ? " -> " $3 : "") ", " what[$1] ": " $5 "\t" $6 }
        $4 == "untested" && $5 != "" { print $2 (($3 != "") ? " -> " $3 : "") ", " what[$1] ": " $5 "\tTry again, or raise ssh.command_timeout." }
    ' "$WORK/rows")
    tried=$(grep -c . "$WORK/rows") || :
    [ -n "$failing" ] || [ "$tried" -eq 0 ] || return 0
    [ "$tried" -gt 0 ] || fail "no connection was tried: the test's pods did not start" "See journalctl -u kubelet on the nodes. [node-not-ready]"
    count=$(printf '%s\n' "$failing" | grep -c .)
    first=$(printf '%s\n' "$failing" | head -n 1)
    if [ "$count" -gt 1 ]; then
        printf '%s\n' "$failing" | sed "s/$(printf '\t')/. /"
        fail "$count of $tried connections failed, the first: ${first%%"$(printf '\t')"*}" "${first#*"$(printf '\t')"} [pod-connections]"
    fi
    fail "${first%%"$(printf '\t')"*}" "${first#*"$(printf '\t')"} [pod-connections]"
}
