"""kubectl: the verbs and output formats that an installer and its tests use. It refuses all others."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import calendar
import difflib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import yaml

from kbootstrap_lab.simulated.fakes import cluster, etcdctl, jsonpath, pod_network
from kbootstrap_lab.simulated.fakes.cluster import State
from kbootstrap_lab.simulated.fakes.common import Failed, read, run_main, unsupported

Object = dict[str, Any]

_KINDS = {
    "Node": ("node", "nodes", "no"),
    "Pod": ("pod", "pods", "po"),
    "DaemonSet": ("daemonset", "daemonsets", "ds", "daemonset.apps", "daemonsets.apps"),
    "Deployment": ("deployment", "deployments", "deploy", "deployment.apps", "deployments.apps"),
    "Service": ("service", "services", "svc"),
    "ConfigMap": ("configmap", "configmaps", "cm"),
    "Secret": ("secret", "secrets"),
    "Namespace": ("namespace", "namespaces", "ns"),
    "ServiceAccount": ("serviceaccount", "serviceaccounts", "sa"),
    "ClusterRole": ("clusterrole", "clusterroles"),
    "ClusterRoleBinding": ("clusterrolebinding", "clusterrolebindings"),
    "Event": ("event", "events", "ev"),
    "ComponentStatus": ("componentstatus", "componentstatuses", "cs"),
}
_CLUSTER_WIDE = {"Node", "Namespace", "ClusterRole", "ClusterRoleBinding", "ComponentStatus", "PersistentVolume"}
_VALUES = {
    "--kubeconfig", "-n", "--namespace", "-o", "--output", "-l", "--selector", "-f", "--filename", "--request-timeout",
    "--cache-dir", "--raw", "--for", "--timeout", "--context", "--field-selector", "--sort-by", "--grace-period", "--server",
}  # fmt: skip
_FLAGS = {
    "-A", "--all-namespaces", "--ignore-not-found", "--no-headers", "--overwrite", "--all", "--client", "--short",
    "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--server-side", "--force-conflicts", "--show-labels",
    "--flatten", "--minify", "--disable-eviction", "--wait", "--validate", "-i", "--stdin",
}  # fmt: skip


class Request:
    """A command line: the verb and its arguments, and the options by their long name."""

    def __init__(self, command: str, argv: list[str]) -> None:
        self.command, self.argv = command, argv
        self.words: list[str] = []
        self.options: dict[str, str] = {}
        rest = iter(argv)
        for word in rest:
            self._take(word, rest)

    def _take(self, word: str, rest: Any) -> None:
        short = {
            "-n": "--namespace",
            "-o": "--output",
            "-l": "--selector",
            "-f": "--filename",
            "-A": "--all-namespaces",
        }
        name, equals, value = word.partition("=")
        if word in _VALUES:
            self.options[short.get(word, word)] = next(rest, "")
        elif equals and name in _VALUES:
            self.options[short.get(name, name)] = value
        elif name in _FLAGS and (not equals or value in ("true", "false")):
            if value != "false":
                self.options[short.get(name, name)] = "true"
        elif re.match(r"-[nolf].", word) and not word.startswith("--"):
            self.options[short[word[:2]]] = word[2:].removeprefix("=")
        elif word.startswith("-") and len(word) > 1 and not re.fullmatch(r"--?v=\d+", word):
            unsupported(self.command, self.argv)
        elif not word.startswith("-") or word == "-":
            self.words.append(word)

    def refuse(self) -> Any:
        unsupported(self.command, self.argv)

    def has(self, option: str) -> bool:
        return option in self.options

    @property
    def namespace(self) -> str:
        return self.options.get("--namespace", "default")

    def kubeconfig(self) -> str:
        home = os.environ.get("HOME", "/root")
        path = self.options.get("--kubeconfig") or os.environ.get("KUBECONFIG") or f"{home}/.kube/config"
        if not os.path.exists(path) and path == f"{home}/.kube/config":
            raise Failed(
                "The connection to the server localhost:8080 was refused - did you specify the right host or port?"
            )
        if (
            os.stat(path).st_mode & 0o077 == 0
            and os.environ.get("SIM_USER", "root") != "root"
            and not path.startswith(home)
        ):
            raise Failed(f'error: error loading config file "{path}": open {path}: permission denied')
        return path

    def api(self) -> State:
        return cluster.api(*cluster.credentials(self.kubeconfig()))


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    program = argv[argv.index("--") + 1 :] if "--" in argv else []
    request = Request(command, argv[: argv.index("--")] if program else argv)
    if request.words[:1] == ["exec"]:
        return _exec(request, program)
    verbs: dict[str, Callable[[Request], int]] = {
        "annotate": _annotate,
        "apply": _apply,
        "cluster-info": _cluster_info,
        "config": _config,
        "cordon": _cordon,
        "create": _apply,
        "delete": _delete,
        "diff": _diff,
        "drain": _drain,
        "get": _get,
        "label": _label,
        "rollout": _rollout,
        "taint": _taint,
        "uncordon": _cordon,
        "version": _version,
        "wait": _wait,
    }
    if not request.words or request.words[0] not in verbs:
        unsupported(command, argv)
    return verbs[request.words[0]](request)


def kind_of(request: Request, word: str) -> str:
    for kind, names in _KINDS.items():
        if word.lower() in names:
            return kind
    raise Failed(f'error: the server doesn\'t have a resource type "{word}"')


# --- reading ---------------------------------------------------------------------------------------------------------


def objects(state: State, kind: str) -> list[Object]:
    """Every object of a kind."""
    if kind == "Node":
        return [cluster.node_object(state, node) for node in state["nodes"].values()]
    if kind == "Pod":
        return cluster.pods(state)
    if kind == "Namespace":
        names = ["default", "kube-node-lease", "kube-public", "kube-system"]
        made = [{"kind": "Namespace", "metadata": {"name": n}, "status": {"phase": "Active"}} for n in names]
        return made + _stored(state, kind)
    if kind in ("DaemonSet", "Deployment"):
        return [_with_status(state, item) for item in _builtin(state, kind) + _stored(state, kind)]
    if kind == "Secret":
        return _token_secrets(state)
    if kind == "Event":
        return []
    return _stored(state, kind)


def _stored(state: State, kind: str) -> list[Object]:
    return [entry["object"] for key, entry in state["objects"].items() if key.startswith(f"{kind}/")]


def _builtin(state: State, kind: str) -> list[Object]:
    """The workloads that kubeadm installs: kube-proxy and CoreDNS."""
    name = {"DaemonSet": "kube-proxy", "Deployment": "coredns"}[kind]
    if name in state.get("skipped", []):
        return []
    label = {"DaemonSet": "kube-proxy", "Deployment": "kube-dns"}[kind]
    spec = {"replicas": 2} if kind == "Deployment" else {}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": label}},
            "spec": {**spec, "selector": {"matchLabels": {"k8s-app": label}}},
        }
    ]


def _with_status(state: State, item: Object) -> Object:
    meta, labels = item["metadata"], item["spec"]["selector"]["matchLabels"]
    mine = [
        pod
        for pod in cluster.pods(state)
        if pod["metadata"]["namespace"] == meta["namespace"]
        and all(pod["metadata"]["labels"].get(key) == value for key, value in labels.items())
    ]
    ready = sum(_pod_ready(pod) for pod in mine)
    if item["kind"] == "Deployment":
        wanted = item["spec"].get("replicas", 1)
        status = {"replicas": wanted, "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": wanted}
    else:
        status = {
            "desiredNumberScheduled": len(mine),
            "currentNumberScheduled": len(mine),
            "numberReady": ready,
            "numberAvailable": ready,
            "updatedNumberScheduled": len(mine),
        }
    return {**item, "status": {**status, "observedGeneration": 1}}


def _pod_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def _token_secrets(state: State) -> list[Object]:
    names = [f"bootstrap-token-{token.partition('.')[0]}" for token in state["tokens"]]
    names += ["kubeadm-certs"] if state["certificate_keys"] else []
    return [{"kind": "Secret", "metadata": {"name": name, "namespace": "kube-system"}} for name in names]


def select(request: Request, state: State, kind: str, names: list[str]) -> list[Object]:
    """The objects that a command line selects. Raises Failed for names that do not exist."""
    found = objects(state, kind)
    if kind not in _CLUSTER_WIDE and not request.has("--all-namespaces"):
        found = [item for item in found if item["metadata"].get("namespace") == request.namespace]
    selector = request.options.get("--selector")
    if selector:
        found = [item for item in found if _selected(request, selector, item["metadata"].get("labels", {}))]
    if request.has("--field-selector"):
        found = [item for item in found if _field_selected(request, item)]
    if not names:
        return found
    by_name = {item["metadata"]["name"]: item for item in found}
    for name in names:
        if name not in by_name and not request.has("--ignore-not-found"):
            plural = _KINDS[kind][1] + (".apps" if kind in ("DaemonSet", "Deployment") else "")
            raise Failed(f'Error from server (NotFound): {plural} "{name}" not found')
    return [by_name[name] for name in names if name in by_name]


def _selected(request: Request, selector: str, labels: dict[str, str]) -> bool:
    for part in selector.split(","):
        match = re.fullmatch(r"(!?)([\w./-]+)(?:(==|=|!=)([\w./-]*))?", part.strip())
        if not match:
            request.refuse()
            return False
        absent, key, operator, value = match.groups()
        if operator is None:
            holds = (key in labels) != bool(absent)
        else:
            holds = (labels.get(key) == value) == (operator != "!=")
        if not holds:
            return False
    return True


def _field_selected(request: Request, item: Object) -> bool:
    for part in request.options["--field-selector"].split(","):
        match = re.fullmatch(r"([\w.]+?)(!=|==|=)(\S*)", part)
        if not match:
            request.refuse()
            return False
        found = jsonpath.find("." + match[1], item, item)
        if ((str(found[0]) if found else "") == match[3]) == (match[2] == "!="):
            return False
    return True


def _get(request: Request) -> int:
    state = request.api()
    if request.has("--raw"):
        return _raw(request, state)
    words = request.words[1:]
    if not words:
        request.refuse()
    kinds = [kind_of(request, part) for part in words[0].partition("/")[0].split(",")]
    names = words[1:]
    if "/" in words[0]:
        names = [word.partition("/")[2] for word in words]
    items = [item for kind in kinds for item in select(request, state, kind, names)]
    single = len(names) == 1 and len(kinds) == 1
    _print(request, items, single, kinds[0])
    return 0


def _raw(request: Request, state: State) -> int:
    path = request.options["--raw"].partition("?")[0]
    if path in ("/healthz", "/readyz", "/livez"):
        sys.stdout.write("ok")
    elif path == "/version":
        print(
            json.dumps(
                {"major": "1", "minor": str(cluster.minor(state["version"])), "gitVersion": f"v{state['version']}"}
            )
        )
    elif path == "/api/v1/nodes":
        print(json.dumps({"kind": "NodeList", "apiVersion": "v1", "items": objects(state, "Node")}))
    else:
        request.refuse()
    return 0


def _print(request: Request, items: list[Object], single: bool, kind: str) -> None:
    output = request.options.get("--output", "")
    if single and not items:
        return
    shown: Object = items[0] if single else {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}
    if output == "json":
        print(json.dumps(shown, indent=4))
    elif output == "yaml":
        print(yaml.safe_dump(shown, sort_keys=True), end="")
    elif output == "name":
        for item in items:
            suffix = ".apps" if item["kind"] in ("DaemonSet", "Deployment") else ""
            print(f"{item['kind'].lower()}{suffix}/{item['metadata']['name']}")
    elif output.startswith("jsonpath="):
        sys.stdout.write(jsonpath.render(output.removeprefix("jsonpath="), shown))
    elif output in ("", "wide"):
        _table(request, items, kind, output == "wide")
    else:
        request.refuse()


def _table(request: Request, items: list[Object], kind: str, wide: bool) -> None:
    if not items:
        place = "" if kind in _CLUSTER_WIDE or request.has("--all-namespaces") else f" in {request.namespace} namespace"
        print(f"No resources found{place}", file=sys.stderr)
        return
    rows = [_row(item, wide) for item in items]
    if request.has("--all-namespaces"):
        rows = [
            {"NAMESPACE": item["metadata"].get("namespace", ""), **row} for item, row in zip(items, rows, strict=True)
        ]
    if request.has("--show-labels"):
        for item, row in zip(items, rows, strict=True):
            row["LABELS"] = ",".join(f"{k}={v}" for k, v in item["metadata"].get("labels", {}).items()) or "<none>"
    lines = [list(row.values()) for row in rows]
    if not request.has("--no-headers"):
        lines.insert(0, list(rows[0]))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _row(item: Object, wide: bool) -> dict[str, str]:
    name, kind = item["metadata"]["name"], item["kind"]
    if kind == "Node":
        return _node_row(item, wide)
    if kind == "Pod":
        return _pod_row(item, wide)
    if kind == "DaemonSet":
        status = item["status"]
        keys = {"DESIRED": "desiredNumberScheduled", "CURRENT": "currentNumberScheduled", "READY": "numberReady"}
        return {"NAME": name, **{title: str(status[key]) for title, key in keys.items()}}
    if kind == "Deployment":
        status = item["status"]
        return {"NAME": name, "READY": f"{status['readyReplicas']}/{status['replicas']}"}
    return {"NAME": name}


def _node_row(item: Object, wide: bool) -> dict[str, str]:
    info = item["status"]["nodeInfo"]
    ready = next(c["status"] for c in item["status"]["conditions"] if c["type"] == "Ready")
    status = "Ready" if ready == "True" else "NotReady"
    status += ",SchedulingDisabled" if item["spec"].get("unschedulable") else ""
    prefix = "node-role.kubernetes.io/"
    roles = ",".join(sorted(k.removeprefix(prefix) for k in item["metadata"]["labels"] if k.startswith(prefix)))
    row = {"NAME": item["metadata"]["name"], "STATUS": status, "ROLES": roles or "<none>", "AGE": _age(item)}
    row["VERSION"] = info["kubeletVersion"]
    if wide:
        row |= {
            "INTERNAL-IP": item["status"]["addresses"][0]["address"],
            "EXTERNAL-IP": "<none>",
            "OS-IMAGE": info["osImage"],
            "KERNEL-VERSION": info["kernelVersion"],
            "CONTAINER-RUNTIME": info["containerRuntimeVersion"],
        }
    return row


def _pod_row(item: Object, wide: bool) -> dict[str, str]:
    statuses = item["status"].get("containerStatuses", [])
    ready = sum(status["ready"] for status in statuses)
    waiting = [status["state"]["waiting"]["reason"] for status in statuses if "waiting" in status["state"]]
    row = {
        "NAME": item["metadata"]["name"],
        "READY": f"{ready}/{len(item['spec']['containers'])}",
        "STATUS": waiting[0] if waiting else item["status"]["phase"],
        "RESTARTS": "0",
        "AGE": _age(item),
    }
    if wide:
        row |= {"IP": item["status"].get("podIP", "<none>"), "NODE": item["spec"].get("nodeName", "<none>")}
    return row


def _age(item: Object) -> str:
    created = calendar.timegm(time.strptime(item["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ"))
    seconds = max(0, int(time.time()) - created)
    return f"{seconds}s" if seconds < 120 else f"{seconds // 60}m"


def _version(request: Request) -> int:
    text = read("/var/lib/rpm/kubectl") or read("/var/lib/dpkg/status.d/kubectl")
    match = re.search(r"^Version: ([\d.]+)", text, re.MULTILINE)
    client = "v" + (match[1] if match else "0")
    server = None if request.has("--client") else f"v{request.api()['version']}"
    if request.options.get("--output") == "json":
        shown: Object = {"clientVersion": {"gitVersion": client}}
        if server:
            shown["serverVersion"] = {"gitVersion": server}
        print(json.dumps(shown, indent=2))
    elif "--output" in request.options:
        request.refuse()
    else:
        print(f"Client Version: {client}")
        if server:
            print(f"Server Version: {server}")
    return 0


def _cluster_info(request: Request) -> int:
    state = request.api()
    print(f"Kubernetes control plane is running at https://{state['endpoint']}")
    return 0


def _config(request: Request) -> int:
    words = request.words[1:]
    text = read(request.kubeconfig())
    if words == ["current-context"]:
        print(re.findall(r"^current-context: (.*)$", text, re.MULTILINE)[0])
    elif words == ["view"] and "--raw" in request.options:
        print(text, end="")
    else:
        request.refuse()
    return 0


# --- waiting ---------------------------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    return go_duration(text) if text else 30.0


def go_duration(text: str) -> float:
    """A Go duration such as 24h0m0s, in seconds. Raises Failed."""
    if text == "0":
        return 0
    if not re.fullmatch(r"(\d+(\.\d+)?(h|ms|m|s))+", text):
        raise Failed(f'invalid argument "{text}": time: invalid duration "{text}"')
    unit = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(number) * unit[name] for number, _, name in re.findall(r"(\d+(\.\d+)?)(h|ms|m|s)", text))


def _wait(request: Request) -> int:
    match = re.fullmatch(r"condition=(\w+)(=\w+)?", request.options.get("--for", ""), re.IGNORECASE)
    words = request.words[1:]
    if not match or not words:
        request.refuse()
        return 1
    kind, _, first = words[0].partition("/")
    kind, names = kind_of(request, kind), [first, *words[1:]] if first else words[1:]
    deadline = time.monotonic() + _seconds(request.options.get("--timeout", ""))
    wanted = (match[2] or "=True")[1:]
    while True:
        items = select(request, request.api(), kind, names)
        if not items:
            raise Failed("error: no matching resources found")
        pending = [item for item in items if not _condition_is(item, match[1], wanted)]
        if not pending:
            for item in items:
                print(f"{kind.lower()}/{item['metadata']['name']} condition met")
            return 0
        if time.monotonic() > deadline:
            raise Failed(
                f"error: timed out waiting for the condition on {_KINDS[kind][1]}/{pending[0]['metadata']['name']}"
            )
        time.sleep(0.1)


def _condition_is(item: Object, kind: str, wanted: str) -> bool:
    if item["kind"] == "Deployment" and kind.lower() == "available":
        return bool(item["status"]["availableReplicas"] >= item["status"]["replicas"])
    conditions = item.get("status", {}).get("conditions", [])
    return any(c["type"].lower() == kind.lower() and c["status"].lower() == wanted.lower() for c in conditions)


def _rollout(request: Request) -> int:
    words = request.words[1:]
    if not words or words[0] != "status" or len(words) < 2:
        request.refuse()
    kind, _, name = words[1].partition("/")
    kind = kind_of(request, kind)
    names = [name] if name else words[2:]
    timeout = request.options.get("--timeout", "")
    deadline = time.monotonic() + (_seconds(timeout) if timeout else 600)
    while True:
        status = select(request, request.api(), kind, names)[0]["status"]
        have, want = (
            (status["readyReplicas"], status["replicas"])
            if kind == "Deployment"
            else (status["numberReady"], status["desiredNumberScheduled"])
        )
        if have >= want > 0:
            print(f'{_KINDS[kind][0]} "{names[0]}" successfully rolled out')
            return 0
        if time.monotonic() > deadline:
            raise Failed("error: timed out waiting for the condition")
        time.sleep(0.1)


# --- writing ---------------------------------------------------------------------------------------------------------


def _documents(request: Request) -> list[Object]:
    path = request.options.get("--filename", "")
    if not path:
        request.refuse()
    if path != "-" and not os.path.exists(path):
        raise Failed(f'error: the path "{path}" does not exist')
    try:
        text = sys.stdin.read() if path == "-" else read(path)
        documents = (
            _json_stream(path, text) if text.lstrip()[:1] == "{" else list(filter(None, yaml.safe_load_all(text)))
        )
    except yaml.YAMLError as error:
        raise Failed(f"error: error parsing {path}: error converting YAML to JSON: {error}") from None
    if not documents:
        raise Failed("error: no objects passed to apply")
    flat = [entry for item in documents for entry in (item["items"] if item.get("kind") == "List" else [item])]
    for item in flat:
        _check_object(item)
    return flat


def _json_stream(path: str, text: str) -> list[Object]:
    """What begins with a brace is JSON for kubectl: one object after the other, with no separator."""
    decoder, found, at = json.JSONDecoder(), [], 0
    text = text.strip()
    while at < len(text):
        try:
            item, at = decoder.raw_decode(text, at)
        except ValueError:
            line = text.count("\n", 0, at) + 1
            raise Failed(f"error: error parsing {path}: json: line {line}: invalid character '{text[at]}'") from None
        found.append(item)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def _check_object(item: Object) -> None:
    if not isinstance(item, dict) or not item.get("kind") or not item.get("apiVersion"):
        raise Failed('error: error validating "STDIN": error validating data: [apiVersion not set, kind not set]')
    meta = item.get("metadata")
    if not isinstance(meta, dict) or not meta.get("name"):
        raise Failed("error: error when retrieving current configuration: resource name may not be empty")
    labels = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    if not all(isinstance(value, str) for value in labels.values()):
        raise Failed(
            f'The {item["kind"]} "{meta["name"]}" is invalid: json: cannot unmarshal into Go struct field of type string'
        )
    versions = {"DaemonSet": "apps/v1", "Deployment": "apps/v1", "Namespace": "v1", "ConfigMap": "v1", "Service": "v1"}
    wanted = versions.get(item["kind"], item["apiVersion"])
    if item["apiVersion"] != wanted:
        raise Failed(
            f'error: resource mapping not found for name: "{meta["name"]}" namespace: "{meta.get("namespace", "")}" from '
            f'"STDIN": no matches for kind "{item["kind"]}" in version "{item["apiVersion"]}"\nensure CRDs are installed first'
        )
    if item["kind"] in ("DaemonSet", "Deployment"):
        _check_workload(item)


def _check_workload(item: Object) -> None:
    """Check that a workload's selector selects its own pods."""
    spec = item.get("spec", {})
    wanted = spec.get("selector", {}).get("matchLabels", {})
    have = spec.get("template", {}).get("metadata", {}).get("labels", {})
    name = item["metadata"]["name"]
    if not wanted or any(have.get(key) != value for key, value in wanted.items()):
        raise Failed(
            f'The {item["kind"]} "{name}" is invalid: spec.template.metadata.labels: Invalid value: {json.dumps(have)}: '
            "`selector` does not match template `labels`"
        )
    if not spec["template"].get("spec", {}).get("containers"):
        raise Failed(f'The {item["kind"]} "{name}" is invalid: spec.template.spec.containers: Required value')


def _key(request: Request, item: Object) -> str:
    namespace = "" if item["kind"] in _CLUSTER_WIDE else item["metadata"].get("namespace", request.namespace)
    return f"{item['kind']}/{namespace}/{item['metadata']['name']}"


def _apply(request: Request) -> int:
    identity = request.api()["id"]
    documents = _documents(request)
    with cluster.change(identity) as state:
        for item in documents:
            key = _key(request, item)
            namespace = key.split("/")[1]
            names = [entry["metadata"]["name"] for entry in objects(state, "Namespace")]
            if namespace and namespace not in names:
                raise Failed(f'Error from server (NotFound): namespaces "{namespace}" not found')
            if namespace:
                item["metadata"]["namespace"] = namespace
            if request.words[0] == "create" and key in state["objects"]:
                name = item["metadata"]["name"]
                what = f'{_full_kind(item)}s "{name}" already exists'
                raise Failed(f'Error from server (AlreadyExists): error when creating "STDIN": {what}')
            if item["kind"] == "Service":
                pod_network.give_addresses(state, item)
            print(f"{_full_kind(item)}/{item['metadata']['name']} {_store(state, key, item)}")
    cluster.settle(cluster.load(identity))
    return 0


def _full_kind(item: Object) -> str:
    group, slash, _version = item["apiVersion"].partition("/")
    return str(item["kind"]).lower() + (f".{group}" if slash else "")


def _store(state: State, key: str, item: Object) -> str:
    """Store an object. Annotations of others stay, as in a three-way merge."""
    old = state["objects"].get(key)
    last = json.dumps(item, sort_keys=True)
    if old:
        annotations = {**old["object"]["metadata"].get("annotations", {}), **item["metadata"].get("annotations", {})}
        item = {**item, "metadata": {**item["metadata"], "annotations": annotations}}
        if old["applied_text"] == last:
            return "unchanged"
    state["objects"][key] = {"object": item, "applied": time.time(), "applied_text": last}
    return "configured" if old else "created"


def _diff(request: Request) -> int:
    """Exit with 1 when `apply` would change something."""

    state, different = request.api(), False
    for item in _documents(request):
        old = state["objects"].get(_key(request, item))
        before = json.loads(old["applied_text"]) if old else {}
        if before != item:
            different = True
            live, merged = (json.dumps(side, indent=2, sort_keys=True).splitlines() for side in (before, item))
            print("\n".join(difflib.unified_diff(live, merged, "live", "merged", lineterm="")))
    return int(different)


def _delete(request: Request) -> int:
    identity = request.api()["id"]
    if "--filename" in request.options:
        with cluster.change(identity) as state:
            for item in _documents(request):
                if state["objects"].pop(_key(request, item), None) is None and not request.has("--ignore-not-found"):
                    raise Failed(
                        f'Error from server (NotFound): {_full_kind(item)} "{item["metadata"]["name"]}" not found'
                    )
                print(f'{_full_kind(item)} "{item["metadata"]["name"]}" deleted')
        cluster.settle(cluster.load(identity))
        return 0
    kind, _, first = request.words[1].partition("/")
    kind, names = kind_of(request, kind), [first] if first else request.words[2:]
    kinds = ("Node", "Pod", "DaemonSet", "Deployment", "ConfigMap", "Namespace", "Secret")
    if kind not in kinds or not (names or request.has("--selector")):
        request.refuse()
    with cluster.change(identity) as state:
        chosen = select(request, state, kind, names)
        if not chosen and not names:
            print("No resources found", file=sys.stderr)
        for item in chosen:
            name = item["metadata"]["name"]
            if kind == "Node":
                del state["nodes"][name]
            elif kind == "Namespace":
                keys = [key for key in state["objects"] if key.split("/")[1] == name or key == f"Namespace//{name}"]
                for key in keys:
                    del state["objects"][key]
            elif name == "kubeadm-certs":
                state["certificate_keys"] = {}
            else:
                state["objects"].pop(f"{kind}/{item['metadata']['namespace']}/{name}", None)
            print(f'{kind.lower()} "{name}" deleted')
    cluster.settle(cluster.load(identity))
    return 0


def _exec(request: Request, program: list[str]) -> int:
    """Run a program in a pod: etcdctl in a running etcd, or the client of kbootstrap's test of the pod network."""
    state = request.api()
    name = request.words[1]
    pods = {pod["metadata"]["name"]: pod for pod in cluster.pods(state)}
    if name not in pods or pods[name]["metadata"]["namespace"] != request.namespace:
        raise Failed(f'Error from server (NotFound): pods "{name}" not found')
    if f"Pod/{request.namespace}/{name}" in state["objects"]:
        return _exec_client(request, state, pods[name], program)
    if not name.startswith("etcd-") or program[:1] != ["etcdctl"]:
        request.refuse()
    node = state["nodes"][pods[name]["spec"]["nodeName"]]
    if not cluster.host_serves(node["ip"], 2379, state["id"]):
        raise Failed(f'error: unable to upgrade connection: container not found ("etcd") in {name}')
    with cluster.change(state["id"]) as current:
        return etcdctl.run(current, program[1:])


def _exec_client(request: Request, state: State, pod: Object, program: list[str]) -> int:
    pod_network.exec_channel(state, pod)
    if not _pod_ready(pod):
        name = pod["metadata"]["name"]
        raise Failed(f'error: unable to upgrade connection: container not found ("test") in {name}')
    said = pod_network.ask(state, pod, program, sys.stdin.read().splitlines() if request.has("-i") else [])
    if said is None:
        request.refuse()
        return 1
    print("\n".join(said))
    return 0


def _pairs(request: Request, words: list[str]) -> tuple[dict[str, str], list[str]]:
    """The values to set (key=value) and the keys to remove (key-)."""
    sets, removes = {}, []
    for word in words:
        if "=" in word:
            key, _, value = word.partition("=")
            sets[key] = value
        elif word.endswith("-"):
            removes.append(word[:-1])
        else:
            request.refuse()
    return sets, removes


def _change_metadata(request: Request, field: str, done: str) -> int:
    identity = request.api()["id"]
    words = request.words[1:]
    kind, _, first = words[0].partition("/")
    kind = kind_of(request, kind)
    names, rest = ([first], words[1:]) if first else ([words[1]], words[2:])
    if request.has("--all"):
        names, rest = [], words[1:]
    sets, removes = _pairs(request, rest)
    with cluster.change(identity) as state:
        for item in select(request, state, kind, names):
            name = item["metadata"]["name"]
            place = (
                state["nodes"][name]
                if kind == "Node"
                else state["objects"][f"{kind}/{item['metadata'].get('namespace', '')}/{name}"]["object"]["metadata"]
            )
            have = place.setdefault(field, {})
            for key, value in sets.items():
                if have.get(key, value) != value and not request.has("--overwrite"):
                    raise Failed(f"error: '{key}' already has a value ({have[key]}), and --overwrite is false")
                have[key] = value
            for key in removes:
                have.pop(key, None)
            print(f"{kind.lower()}/{name} {done}")
    return 0


def _label(request: Request) -> int:
    return _change_metadata(request, "labels", "labeled")


def _annotate(request: Request) -> int:
    return _change_metadata(request, "annotations", "annotated")


def _taint(request: Request) -> int:
    identity = request.api()["id"]
    words = request.words[1:]
    if kind_of(request, words[0]) != "Node":
        request.refuse()
    names, rest = ([], words[1:]) if request.has("--all") else ([words[1]], words[2:])
    with cluster.change(identity) as state:
        for item in select(request, state, "Node", names):
            node = state["nodes"][item["metadata"]["name"]]
            for word in rest:
                _change_taint(request, node, word)
            print(f"node/{node['name']} {'untainted' if rest[0].endswith('-') else 'tainted'}")
    return 0


def _change_taint(request: Request, node: State, word: str) -> None:
    match = re.fullmatch(r"([\w./-]+?)(?:=([\w./-]*))?(?::(NoSchedule|NoExecute|PreferNoSchedule))?(-?)", word)
    if not match or not (match[3] or match[4]):
        raise Failed(f"error: invalid taint spec: {word}")
    key, value, effect, remove = match.groups()
    same = [t for t in node["taints"] if t["key"] == key and effect in (None, t["effect"])]
    if remove:
        if not same:
            raise Failed(f'error: taint "{word[:-1]}" not found')
        node["taints"] = [t for t in node["taints"] if t not in same]
        return
    if same and same[0].get("value", "") != (value or "") and not request.has("--overwrite"):
        raise Failed(
            f"error: node {node['name']} already has {key} taint(s) with same effect(s) and --overwrite is false"
        )
    taint = {"key": key, "effect": effect, **({"value": value} if value else {})}
    node["taints"] = [t for t in node["taints"] if t not in same] + [taint]


def _cordon(request: Request) -> int:
    identity, off = request.api()["id"], request.words[0] == "uncordon"
    with cluster.change(identity) as state:
        for item in select(request, state, "Node", request.words[1:]):
            state["nodes"][item["metadata"]["name"]]["cordoned"] = not off
            print(f"node/{item['metadata']['name']} {'uncordoned' if off else 'cordoned'}")
    return 0


def _drain(request: Request) -> int:
    _cordon(request)
    state = request.api()
    for name in request.words[1:]:
        mine = [pod for pod in cluster.pods(state) if pod["spec"].get("nodeName") == name]
        daemons = [pod for pod in mine if pod["metadata"]["name"].startswith(("kube-proxy-", "kube-flannel-"))]
        if daemons and not request.has("--ignore-daemonsets"):
            raise Failed(f'error: unable to drain node "{name}" due to error: cannot delete DaemonSet-managed Pods')
        print(f"node/{name} drained")
    return 0
