"""A simulated cluster: the state in its etcd, and the nodes and pods that follow from it.

The state is one JSON file per cluster in the lab's shared directory, named by the cluster's id. Stand-ins access it
only through an API server: port 6443 of a control plane host that is up, runs a kubelet and has the manifests. Nothing
runs in the background: each request computes nodes and pods from the state and the hosts.
"""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import binascii
import fcntl
import hashlib
import ipaddress
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kbootstrap_lab.simulated.fakes import flannel as pod_network
from kbootstrap_lab.simulated.fakes import internet, runtime
from kbootstrap_lab.simulated.fakes.common import HOST, LAB, Failed, connect, now, read, write

State = dict[str, Any]

CLUSTERS = f"{LAB}/clusters"
START_SECONDS = pod_network.PODS_SECONDS

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def exists(identity: str) -> bool:
    return os.path.exists(f"{CLUSTERS}/{identity}.json")


def load(identity: str) -> State:
    """The state of a cluster. Raises Failed when it is gone."""
    text = read(f"{CLUSTERS}/{identity}.json")
    if not text:
        raise Failed("The connection to the server was refused - did you specify the right host or port?")
    state: State = json.loads(text)
    return state


@contextmanager
def change(identity: str) -> Iterator[State]:
    """The state, to be changed. Other writers wait."""
    with open(f"{CLUSTERS}/{identity}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = load(identity)
        yield state
        save(state)


def save(state: State) -> None:
    write(f"{CLUSTERS}/{state['id']}.json", json.dumps(state))


def create(**fields: Any) -> State:
    """Create a cluster with a CA of its own."""
    ca = pem("CERTIFICATE", os.urandom(600))
    state: State = {
        "id": os.urandom(8).hex(),
        "ca": ca,
        "ca_hash": "sha256:" + _sha256(ca),
        "created": now(),
        "tokens": {},
        "certificate_keys": {},
        "nodes": {},
        "objects": {},
        "members": {},
        **fields,
    }
    save(state)
    return state


def encode64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def decode64(text: str) -> str:
    return binascii.a2b_base64(text).decode()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def pem(kind: str, data: bytes) -> str:
    body = encode64(data)
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return f"-----BEGIN {kind}-----\n" + "\n".join(lines) + f"\n-----END {kind}-----\n"


def store_configuration(state: State, configuration: dict[str, Any]) -> None:
    """kubeadm's ClusterConfiguration as the ConfigMap that every later kubeadm reads."""
    api = {True: "v1beta4", False: "v1beta3"}[minor(state["version"]) >= 31]
    whole = {
        "apiVersion": f"kubeadm.k8s.io/{api if minor(state['version']) >= 22 else 'v1beta2'}",
        "kind": "ClusterConfiguration",
        **configuration,
        "kubernetesVersion": f"v{state['version']}",
    }
    meta = {"name": "kubeadm-config", "namespace": "kube-system"}
    made: State = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
    # JSON is YAML, and needs no import here.
    made["data"] = {"ClusterConfiguration": json.dumps(whole)}
    state["objects"]["ConfigMap/kube-system/kubeadm-config"] = {
        "object": made,
        "applied": time.time(),
        "applied_text": "",
    }


# --- access ----------------------------------------------------------------------------------------------------------


def api(server: str, ca: str, credential: str) -> State:
    """Connect to the API server of a kubeconfig. Raises Failed with kubectl's messages."""
    match = re.match(r"https://\[?([\w.:-]+?)\]?:(\d+)/?\Z", server)
    if not match:
        raise Failed(f"error: simulated kubectl cannot use the server {server!r}")
    try:
        identity = connect(match[1], int(match[2]))
    except Failed as failed:
        if "refused" in failed.text:
            raise Failed(
                f"The connection to the server {match[1]}:{match[2]} was refused - did you specify the right host or port?"
            ) from None
        raise Failed(f"Unable to connect to the server: {failed.text}") from None
    state = load(identity)
    check_quorum(state)
    if ca.strip() != state["ca"].strip():
        raise Failed(
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
    check_clock(state)
    if credential != state["id"]:
        raise Failed("error: You must be logged in to the server (Unauthorized)")
    return state


def check_clock(state: State) -> None:
    """Check the host's clock: certificates are valid for a year from the creation of the CA. Raises Failed."""
    if now() < state["created"] - 5:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now()))
        begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(state["created"]))
        raise Failed(
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate has expired or is "
            f"not yet valid: current time {stamp} is before {begin}"
        )
    if now() > state["created"] + 365 * 24 * 3600:
        raise Failed(
            "Unable to connect to the server: tls: failed to verify certificate: x509: certificate has expired or is "
            "not yet valid"
        )


def check_quorum(state: State) -> None:
    """Check that more than half of etcd's members are up. Raises Failed otherwise."""
    up = [ip for ip in state["members"].values() if host_serves(ip, 2379, state["id"])]
    if len(up) * 2 <= len(state["members"]):
        raise Failed("Error from server: etcdserver: request timed out")


def host_serves(ip: str, port: int, identity: str) -> bool:
    """Whether this port is open on that host, for this cluster."""
    directory = f"{LAB}/net/{ip}"
    return not os.path.exists(f"{directory}/down") and read(f"{directory}/listen/{port}").strip() == identity


def credentials(path: str) -> tuple[str, str, str]:
    """The server, CA and client credential of a kubeconfig. Raises Failed with kubectl's messages."""
    text = read(path)
    if not text:
        raise Failed(f"error: stat {path}: no such file or directory")
    found = [
        re.search(rf"^\s*{key}:\s*(\S+)", text, re.MULTILINE)
        for key in ("server", "certificate-authority-data", "client-key-data")
    ]
    if not all(found):
        raise Failed(f'error: error loading config file "{path}": simulated kubectl cannot read it')
    server, ca, key = (match[1] if match else "" for match in found)
    try:
        return server, decode64(ca), decode64(key).partition(" ")[0]
    except ValueError:
        raise Failed(f'error: unable to read certificate-authority-data in "{path}"') from None


def kubeconfig(state: State, server: str, user: str) -> str:
    """A kubeconfig as kubeadm writes it. The client key names its cluster."""
    ca = encode64(state["ca"].encode())
    certificate = encode64(pem("CERTIFICATE", f"{user} of {state['id']}".encode()).encode())
    key = encode64(f"{state['id']} {os.urandom(16).hex()}".encode())
    name = state["name"]
    return f"""apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca}
    server: https://{server}
  name: {name}
contexts:
- context:
    cluster: {name}
    user: {user}
  name: {user}@{name}
current-context: {user}@{name}
kind: Config
preferences: {{}}
users:
- name: {user}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"""


# --- nodes -----------------------------------------------------------------------------------------------------------


def add_node(state: State, name: str, ip: str, role: str, taints: list[dict[str, str]]) -> None:
    """Register a node, or reuse its old object. A new node gets the next subnet of the pod network."""
    old = state["nodes"].get(name)
    pods = None
    if state.get("pod_cidr"):
        used = {node.get("pod_cidr") for node in state["nodes"].values()}

        subnets = ipaddress.ip_network(state["pod_cidr"]).subnets(new_prefix=24)
        pods = old["pod_cidr"] if old else next((str(net) for net in subnets if str(net) not in used), None)
    labels = {
        "beta.kubernetes.io/arch": go_arch(),
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": go_arch(),
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    }
    if role == "control-plane":
        labels["node-role.kubernetes.io/control-plane"] = ""
        labels["node.kubernetes.io/exclude-from-external-load-balancers"] = ""
        if minor(state["version"]) < 24:
            labels["node-role.kubernetes.io/master"] = ""
    state["nodes"][name] = {
        "name": name,
        "ip": ip,
        "role": role,
        "labels": {**labels, **(old["labels"] if old else {})},
        "annotations": {},
        "taints": taints,
        "joined": time.time(),
        "created": now(),
        "pod_cidr": pods,
        "cordoned": False,
        "uid": str(_uuid(f"{state['id']}{name}{time.time()}")),
    }


def _uuid(text: str) -> str:
    digest = _sha256(text)
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def go_arch() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def minor(version: str) -> int:
    return int(version.removeprefix("v").split(".")[1])


def host_facts(ip: str) -> dict[str, str]:
    """What a host's kubelet reports about it."""
    pairs = (line.partition("=") for line in read(f"{LAB}/net/{ip}/facts").splitlines())
    return {key: value for key, _, value in pairs}


def kubelet_answers(state: State, node: State) -> bool:
    return host_serves(node["ip"], 10250, state["id"])


def node_ready(state: State, node: State) -> tuple[str, str, str]:
    """The Ready condition: status, reason and message."""
    if not kubelet_answers(state, node):
        return "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status."
    if cni_ready(state, node):
        return "True", "KubeletReady", "kubelet is posting ready status"
    return (
        "False",
        "KubeletNotReady",
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
        "message:Network plugin returns error: cni plugin not initialized",
    )


def flannel(state: State) -> State | None:
    """The pod network's DaemonSet, or None when there is none."""
    found: State | None = state["objects"].get("DaemonSet/kube-flannel/kube-flannel-ds")
    return found


def network_start(state: State, node: State) -> pod_network.Start | None:
    """When the pod network comes up on a node; None when there is none."""
    daemon = flannel(state)
    if daemon is None:
        return None
    started = max(node["joined"], float(host_facts(node["ip"]).get("since", "0")))
    proxy = None if "kube-proxy" in state.get("skipped", []) else started
    return pod_network.start(daemon["object"], max(daemon["applied"], started), proxy)


def cni_ready(state: State, node: State) -> bool:
    """Whether the node has a CNI configuration and its plugins, which is all that the kubelet waits for."""
    begin, problem = network_start(state, node), network_problem(state, node)
    if begin is None or begin.configuration is None or time.time() < begin.configuration:
        return False
    # A crash of flanneld comes after the init containers.
    return problem is None or problem[0] == "ContainerCreating" or (_early(begin) and "Crash" in problem[0])


def _early(begin: pod_network.Start) -> bool:
    """Whether the configuration comes before the subnet file that it needs."""
    return begin.configuration is not None and (begin.subnet is None or begin.configuration < begin.subnet)


def network_problem(state: State, node: State) -> tuple[str, str] | None:
    """Why the pod network does not work on a node: a reason and a message, or None when it works."""
    daemon, begin = flannel(state), network_start(state, node)
    if daemon is None or begin is None:
        return "NoNetwork", "no pod network was applied"
    if time.time() < begin.runs:
        return "ContainerCreating", ""
    return _start_problem(state, node, daemon) or _progress(begin)


def _progress(begin: pod_network.Start) -> tuple[str, str] | None:
    """Why flanneld, which has nothing to complain about, has not written its subnet file yet."""
    if begin.subnet is not None and time.time() >= begin.subnet:
        return None
    if begin.restarts and time.time() >= begin.runs + pod_network.DIAL_SECONDS:
        return "CrashLoopBackOff", (
            "Failed to create SubnetManager: error retrieving pod spec: Get "
            '"https://10.96.0.1:443/api/v1/namespaces/kube-flannel/pods": dial tcp 10.96.0.1:443: i/o timeout'
        )
    return "ContainerCreating", ""


def _start_problem(state: State, node: State, daemon: State) -> tuple[str, str] | None:
    facts = host_facts(node["ip"])
    if facts.get("resolver"):
        return "CreateContainerConfigError", f"open {facts['resolver']}: no such file or directory"
    for container in _containers(daemon["object"]):
        problem = _image_problem(container["image"])
        if problem:
            return "ImagePullBackOff", f'Back-off pulling image "{container["image"]}": {problem}'
    if not node.get("pod_cidr"):
        return (
            "CrashLoopBackOff",
            f'Error registering network: failed to acquire lease: node "{node["name"]}" pod cidr not assigned',
        )
    wanted = flannel_network(state)

    if wanted is None or not ipaddress.IPv4Network(node["pod_cidr"]).subnet_of(wanted):
        return "CrashLoopBackOff", (
            f"Error registering network: failed to acquire lease: subnet {wanted} specified in the flannel net config "
            f"doesn't contain {node['pod_cidr']} PodCIDR of the {node['name']} node."
        )
    if facts.get("br_netfilter") != "1":
        return "CrashLoopBackOff", (
            "Failed to check br_netfilter: stat /proc/sys/net/bridge/bridge-nf-call-iptables: no such file or directory"
        )
    if facts.get("cni_plugins") != "1":
        return "CniPluginsMissing", 'failed to find plugin "portmap" in path [/opt/cni/bin]'
    return None


def _containers(daemon: State) -> list[State]:
    template = daemon["spec"]["template"]["spec"]
    return [*template.get("initContainers", []), *template["containers"]]


def _image_problem(name: str) -> str:
    if name in runtime.images():
        return ""
    return internet.image_problem(runtime.full_name(name))


def flannel_network(state: State) -> ipaddress.IPv4Network | None:
    config = state["objects"].get("ConfigMap/kube-flannel/kube-flannel-cfg")

    try:
        network = json.loads(config["object"]["data"]["net-conf.json"])["Network"] if config else ""
        return ipaddress.IPv4Network(network)
    except (KeyError, ValueError):
        return None


def settle(state: State) -> None:
    """Wake every host after a change of its pods, so that it writes the pod network's files."""
    for node in state["nodes"].values():
        wake(node["ip"])


def wake(ip: str) -> None:
    try:
        fd = os.open(f"{LAB}/net/{ip}/wake", os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.write(fd, b".")
    except BlockingIOError:
        return
    finally:
        os.close(fd)


def cni_config() -> str:
    """The file name of this host's CNI configuration, if there is one."""
    names = sorted(os.listdir("/etc/cni/net.d")) if os.path.isdir("/etc/cni/net.d") else []
    return names[0] if names else ""


def node_object(state: State, node: State) -> State:
    """A node as an API object."""
    status, reason, message = node_ready(state, node)
    facts = host_facts(node["ip"])
    taints = list(node["taints"])
    if status != "True":
        effects = ["NoSchedule"] if status == "False" else ["NoSchedule", "NoExecute"]
        key = "node.kubernetes.io/" + ("not-ready" if status == "False" else "unreachable")
        taints += [{"key": key, "effect": effect} for effect in effects]
    spec: State = {"podCIDR": node["pod_cidr"], "podCIDRs": [node["pod_cidr"]]} if node.get("pod_cidr") else {}
    if taints:
        spec["taints"] = taints
    if node["cordoned"]:
        spec["unschedulable"] = True
        spec["taints"] = [*taints, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    quiet = "KubeletHasSufficient" if status != "Unknown" else "NodeStatusUnknown"
    conditions = [
        {"type": kind, "status": "False" if status != "Unknown" else "Unknown", "reason": quiet}
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
    ]
    conditions.append({"type": "Ready", "status": status, "reason": reason, "message": message})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node["name"],
            "uid": node["uid"],
            "labels": node["labels"],
            "annotations": node["annotations"],
            "creationTimestamp": stamp(node["created"]),
        },
        "spec": spec,
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node["ip"]},
                {"type": "Hostname", "address": node["name"]},
            ],
            "capacity": {"cpu": "2", "memory": "4015976Ki", "pods": "110"},
            "allocatable": {"cpu": "2", "memory": "3913576Ki", "pods": "110"},
            "conditions": conditions,
            "nodeInfo": {
                "kubeletVersion": facts.get("kubelet", ""),
                "kubeProxyVersion": facts.get("kubelet", ""),
                "containerRuntimeVersion": "containerd://" + facts.get("containerd", ""),
                "osImage": facts.get("os", ""),
                "kernelVersion": facts.get("kernel", ""),
                "machineID": facts.get("machine_id", ""),
                "bootID": facts.get("boot_id", ""),
                "operatingSystem": "linux",
                "architecture": go_arch(),
            },
        },
    }


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# --- pods ------------------------------------------------------------------------------------------------------------


def pods(state: State) -> list[State]:
    """Every pod of the cluster: static pods, kube-proxy, CoreDNS, the pod network, and applied workloads."""
    found = []
    tag = "v" + state["version"]
    repository = state["image_repository"]
    for node in state["nodes"].values():
        name = node["name"]
        if node["role"] == "control-plane":
            for component in CONTROL_PLANE:
                image = f"{repository}/{component}:{tag}"
                found.append(
                    _pod(state, node, "kube-system", f"{component}-{name}", component, image, tier="control-plane")
                )
        if "kube-proxy" not in state.get("skipped", []):
            image = f"{repository}/kube-proxy:{tag}"
            found.append(_pod(state, node, "kube-system", f"kube-proxy-{_short(state, name)}", "kube-proxy", image))
        if flannel(state) is not None:
            found.append(_flannel_pod(state, node))
    if "coredns" not in state.get("skipped", []):
        dns = {"name": "coredns", "image": f"{repository}/coredns/coredns:v1.12.1"}
        labels = {"k8s-app": "kube-dns"}
        found += _replicas(state, "kube-system", "coredns", 2, dns, labels, state["created"], anywhere=True)
    for key, entry in state["objects"].items():
        kind, namespace, name = key.split("/")
        if kind == "Deployment":
            spec = entry["object"]["spec"]
            template = spec["template"]
            labels = template.get("metadata", {}).get("labels", {})
            container = template["spec"]["containers"][0]
            count = spec.get("replicas", 1)
            found += _replicas(state, namespace, name, count, container, labels, entry["applied"], anywhere=False)
        if kind == "Pod":
            found.append(_bare_pod(state, namespace, name, entry))
    return found


def _bare_pod(state: State, namespace: str, name: str, entry: State) -> State:
    """A pod that nobody owns, bound to a node by its own spec. Its address is one of the node's pod network."""
    spec, labels = entry["object"]["spec"], entry["object"]["metadata"].get("labels", {})
    node = state["nodes"].get(spec.get("nodeName"))
    container = spec["containers"][0]
    problem = None
    if node is not None:
        problem = network_problem(state, node)
        if problem is None and (trouble := _image_problem(container["image"])):
            problem = ("ImagePullBackOff", trouble)
        if time.time() < entry["applied"] + START_SECONDS or (problem and problem[0] == "CrashLoopBackOff"):
            problem = ("ContainerCreating", "")
    pod = _pod(state, node, namespace, name, container["name"], container["image"], problem, labels)
    pod["metadata"]["ownerReferences"] = []
    pod["spec"] = spec
    if node is not None and problem is None:
        network = ipaddress.ip_network(node["pod_cidr"])
        pod["status"]["podIP"] = str(network[2 + int(_sha256(namespace + name)[:8], 16) % 250])
    elif node is not None:
        del pod["status"]["podIP"]
    return pod


def _short(state: State, text: str) -> str:
    return _sha256(f"{state['id']} {text}")[:5]


def _pod(
    state: State,
    node: State | None,
    namespace: str,
    name: str,
    container: str,
    image: str,
    problem: tuple[str, str] | None = None,
    labels: dict[str, str] | None = None,
    tier: str = "",
) -> State:
    if node is None:
        problem, phase = None, "Pending"
    elif problem is None and time.time() < node["joined"] + START_SECONDS and tier != "control-plane":
        problem, phase = ("ContainerCreating", ""), "Pending"
    else:
        phase = "Pending" if problem and problem[0] != "CrashLoopBackOff" else "Running"
    ready = node is not None and problem is None and kubelet_answers(state, node)
    labels = labels or ({"component": container, "tier": tier} if tier else {"k8s-app": container})
    pod: State = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [{"kind": _owner(container, tier), "controller": True}],
            "uid": _uuid(f"{state['id']}{namespace}{name}"),
            "creationTimestamp": stamp(node["created"] if node else state["created"]),
        },
        "spec": {"containers": [{"name": container, "image": image}]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    if node is None:
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
            }
        ]
        return pod
    pod["spec"]["nodeName"] = node["name"]
    pod["status"]["hostIP"] = node["ip"]
    pod["status"]["podIP"] = node["ip"]
    current: State = {"running": {"startedAt": stamp(node["created"])}}
    if problem:
        current = {"waiting": {"reason": problem[0], **({"message": problem[1]} if problem[1] else {})}}
    pod["status"]["containerStatuses"] = [
        {"name": container, "image": image, "ready": ready, "restartCount": 0, "state": current}
    ]
    return pod


def _owner(container: str, tier: str) -> str:
    """The owner of a pod: the node of a static pod, the DaemonSet of one pod per node, else a ReplicaSet."""
    if tier:
        return "Node"
    return "DaemonSet" if container in ("kube-proxy", "kube-flannel") else "ReplicaSet"


def _flannel_pod(state: State, node: State) -> State:
    daemon = flannel(state)
    assert daemon is not None
    container = daemon["object"]["spec"]["template"]["spec"]["containers"][0]
    problem = network_problem(state, node) if kubelet_answers(state, node) else None
    labels = daemon["object"]["spec"]["template"]["metadata"]["labels"]
    name = f"kube-flannel-ds-{_short(state, node['name'])}"
    pod = _pod(state, node, "kube-flannel", name, container["name"], container["image"], problem, labels)
    begin = network_start(state, node)
    if begin and time.time() >= begin.runs + pod_network.DIAL_SECONDS:
        pod["status"]["containerStatuses"][0]["restartCount"] = begin.restarts
    return pod


def _replicas(
    state: State,
    namespace: str,
    name: str,
    count: int,
    container: State,
    labels: dict[str, str],
    made: float,
    anywhere: bool,
) -> list[State]:
    """Pods of a Deployment, of that time, on the nodes that accept them. ``anywhere`` tolerates the control plane's taint."""
    nodes = [
        node
        for node in state["nodes"].values()
        if node_ready(state, node)[0] == "True"
        and not node["cordoned"]
        and (anywhere or not any(taint["effect"] != "PreferNoSchedule" for taint in node["taints"]))
    ]
    found = []
    for number in range(count):
        node = nodes[number % len(nodes)] if nodes else None
        problem = _sandbox_problem(state, node, made) if node else None
        if node and not anywhere and (trouble := _image_problem(container["image"])):
            problem = ("ImagePullBackOff", trouble)
        suffix = f"{_short(state, namespace + name)}-{_short(state, f'{name}{number}')}"
        found.append(
            _pod(state, node, namespace, f"{name}-{suffix}", container["name"], container["image"], problem, labels)
        )
    return found


def _sandbox_problem(state: State, node: State, made: float) -> tuple[str, str] | None:
    """A pod that starts before the subnet file is there fails once, and the kubelet takes its time to try again."""
    begin = network_start(state, node)
    if begin is None or begin.configuration is None or not _early(begin):
        return None
    tried = max(made, begin.configuration)
    if begin.subnet is not None and tried >= begin.subnet:
        return None
    ends = max(begin.subnet or tried + 3600, tried + pod_network.SANDBOX_SECONDS)
    return ("ContainerCreating", "") if time.time() < ends else None


def local_node(state: State) -> State | None:
    """The node of this host in a cluster."""
    return next((node for node in state["nodes"].values() if node["ip"] == HOST["IP"]), None)
