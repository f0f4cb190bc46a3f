"""kubeadm: init, join, reset, tokens and certificates, with the preflight checks and errors of the real one."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from kbootstrap_lab.simulated.fakes import cluster, configs, runtime
from kbootstrap_lab.simulated.fakes.cluster import State
from kbootstrap_lab.simulated.fakes.common import (
    HOST,
    SIM,
    Failed,
    active,
    connect,
    now,
    publish,
    reached,
    read,
    run_main,
    shell,
    systemctl,
    unsupported,
    write,
)
from kbootstrap_lab.simulated.fakes.kubeadm_preflight import Preflight, check_free, common_checks, need_root
from kbootstrap_lab.simulated.fakes.kubeadm_versions import (
    image_names,
    kubeadm_version,
    package_version,
    wanted_version,
)
from kbootstrap_lab.simulated.fakes.kubectl import go_duration

MANIFESTS = "/etc/kubernetes/manifests"
PKI = "/etc/kubernetes/pki"
ADMIN = "/etc/kubernetes/admin.conf"
IDENTITY = "/var/lib/sim/cluster"
CERTIFICATES_TOKEN = "Proxy for managing TTL for the kubeadm-certs secret"
"""The description of the token that owns the secret: with the token, the secret is deleted."""

_VALUES = {
    "--config", "--kubernetes-version", "--image-repository", "--cri-socket", "--ignore-preflight-errors", "--skip-phases",
    "--apiserver-advertise-address", "--apiserver-bind-port", "--pod-network-cidr", "--service-cidr", "--service-dns-domain",
    "--control-plane-endpoint", "--node-name", "--token", "--token-ttl", "--ttl", "--description", "--kubeconfig",
    "--discovery-token-ca-cert-hash", "--discovery-token", "--certificate-key", "-o", "--output", "-v", "--v", "--usages",
    "--groups", "--cert-dir", "--feature-gates",
}  # fmt: skip
_FLAGS = {
    "--upload-certs", "--skip-token-print", "--skip-certificate-key-print", "--print-join-command", "--control-plane", "-f",
    "--force", "--cleanup-tmp-dir", "--dry-run",
}  # fmt: skip


class Request:
    """A command line."""

    def __init__(self, command: str, argv: list[str]) -> None:
        self.command, self.argv = command, argv
        self.words: list[str] = []
        self.options: dict[str, list[str]] = {}
        rest = iter(argv)
        for word in rest:
            name, equals, value = word.partition("=")
            if word in _VALUES:
                self.options.setdefault(name, []).append(next(rest, ""))
            elif equals and name in _VALUES:
                self.options.setdefault(name, []).append(value)
            elif name in _FLAGS:
                self.options[name] = [value or "true"]
            elif word.startswith("-"):
                unsupported(command, argv)
            else:
                self.words.append(word)

    def refuse(self) -> Any:
        unsupported(self.command, self.argv)

    def get(self, *names: str, default: str = "") -> str:
        return next((self.options[name][-1] for name in names if name in self.options), default)

    def has(self, *names: str) -> bool:
        return any(self.get(name) not in ("", "false") for name in names)


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    request = Request(command, argv)
    verbs: dict[tuple[str, ...], Callable[[Request], int]] = {
        ("version",): _version,
        ("config", "images", "list"): _images_list,
        ("config", "images", "pull"): _images_pull,
        ("config", "validate"): _validate,
        ("init",): _init,
        ("init", "phase", "upload-certs"): _upload_certs,
        ("join",): _join,
        ("reset",): _reset,
        ("token", "create"): _token_create,
        ("token", "list"): _token_list,
        ("token", "delete"): _token_delete,
        ("token", "generate"): _token_generate,
        ("certs", "certificate-key"): _certificate_key,
        ("certs", "check-expiration"): _check_expiration,
    }
    for length in (3, 2, 1):
        verb = verbs.get(tuple(request.words[:length]))
        if verb and len(request.words[:length]) == length:
            request.words = request.words[length:]
            if request.words and verb not in (_join, _token_create, _token_delete):
                unsupported(command, argv)
            return verb(request)
    unsupported(command, argv)


# --- versions and images ---------------------------------------------------------------------------------------------


def _version(request: Request) -> int:
    version, output = f"v{kubeadm_version()}", request.get("-o", "--output")
    if output == "short":
        print(version)
    elif output == "json":
        major, minor, _patch = version[1:].split(".")
        print(json.dumps({"clientVersion": {"major": major, "minor": minor, "gitVersion": version}}, indent=2))
    elif not output:
        print(f'kubeadm version: &version.Info{{Major:"1", Minor:"{version.split(".")[1]}", GitVersion:"{version}"}}')
    else:
        request.refuse()
    return 0


def _images_wanted(request: Request) -> list[str]:
    configuration: dict[str, Any] = {}
    mixed = [name.lstrip("-") for name in ("--kubernetes-version", "--image-repository") if request.get(name)]
    if request.get("--config"):
        if mixed:
            raise Failed(f"can not mix '--config' with arguments [{','.join(mixed)}]")
        configuration = configs.load(request.get("--config"), kubeadm_version()).get("ClusterConfiguration", {})
    version = wanted_version(request.get("--kubernetes-version") or configuration.get("kubernetesVersion", ""))
    return image_names(version, configuration, request.get("--image-repository"))


def _images_list(request: Request) -> int:
    print("\n".join(_images_wanted(request)))
    return 0


def _images_pull(request: Request) -> int:
    need_root()
    for name in _images_wanted(request):
        try:
            runtime.check_cri()
            runtime.pull(name)
        except Failed as failed:
            raise Failed(
                f'failed to pull image "{name}": {failed.text}\nTo see the stack trace of this error execute with --v=5 or higher'
            ) from None
        print(f"[config/images] Pulled {name}")
    return 0


def _validate(request: Request) -> int:
    configs.load(request.get("--config"), kubeadm_version())
    print("ok")
    return 0


# --- init ------------------------------------------------------------------------------------------------------------


def _settings(request: Request) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Init, Cluster and Kubelet configuration from --config or from the flags."""
    if request.get("--config"):
        documents = configs.load(request.get("--config"), kubeadm_version())
        init, whole = documents.get("InitConfiguration", {}), documents.get("ClusterConfiguration", {})
        return init, whole, documents.get("KubeletConfiguration", {})
    init = {
        "localAPIEndpoint": {"advertiseAddress": request.get("--apiserver-advertise-address") or HOST["IP"]},
        "nodeRegistration": {"name": request.get("--node-name") or None},
        "certificateKey": request.get("--certificate-key"),
    }
    whole = {
        "kubernetesVersion": request.get("--kubernetes-version"),
        "imageRepository": request.get("--image-repository"),
        "controlPlaneEndpoint": request.get("--control-plane-endpoint"),
        "networking": {
            "podSubnet": request.get("--pod-network-cidr"),
            "serviceSubnet": request.get("--service-cidr"),
            "dnsDomain": request.get("--service-dns-domain"),
        },
    }
    return init, whole, {}


def _init(request: Request) -> int:
    need_root()
    init, whole, kubelet = _settings(request)
    version = wanted_version(whole.get("kubernetesVersion") or "")
    registration = init.get("nodeRegistration") or {}
    advertise = (init.get("localAPIEndpoint") or {}).get("advertiseAddress") or HOST["IP"]
    skipped = _skipped(request, init)
    print(f"[init] Using Kubernetes version: v{version}\n[preflight] Running pre-flight checks")
    if "preflight" not in skipped:
        _init_preflight(request, registration, version, whole)
    endpoint = whole.get("controlPlaneEndpoint") or f"{advertise}:6443"
    endpoint = endpoint if ":" in endpoint else f"{endpoint}:6443"
    networking = whole.get("networking") or {}
    name = registration.get("name") or os.uname().nodename.lower()
    state = cluster.create(
        name=whole.get("clusterName") or "kubernetes",
        version=version,
        endpoint=endpoint,
        stable_endpoint=bool(whole.get("controlPlaneEndpoint")),
        pod_cidr=networking.get("podSubnet") or "",
        service_cidr=networking.get("serviceSubnet") or "10.96.0.0/12",
        image_repository=whole.get("imageRepository") or "registry.k8s.io",
        skipped=[phase.removeprefix("addon/") for phase in skipped if phase.startswith("addon/")],
    )
    state["members"] = {name: HOST["IP"]}
    state["kubelet"] = configs.cluster_kubelet(kubelet, version, resolved=os.path.exists(configs.RESOLVED))
    _write_control_plane(state, name, advertise, whole)
    _write_kubelet(state, name, registration)
    print("[wait-control-plane] Waiting for the kubelet to boot up the control plane as static Pods")
    reached("kubeadm has written the manifests")
    _start_control_plane(state, name, advertise, endpoint)
    reached("kubeadm has started the control plane")
    taints = registration.get("taints")
    if taints is None:
        role = "control-plane" if cluster.minor(version) >= 24 else "master"
        taints = [{"key": f"node-role.kubernetes.io/{role}", "effect": "NoSchedule"}]
    cluster.add_node(state, name, HOST["IP"], "control-plane", list(taints))
    token = _add_bootstrap_token(request, init, state)
    cluster.store_configuration(state, whole)
    cluster.save(state)
    if request.has("--upload-certs"):
        _print_upload(_store_certificates(state["id"], init.get("certificateKey") or request.get("--certificate-key")))
    publish()
    cluster.settle(cluster.load(state["id"]))
    reached("kubeadm has registered the node")
    _print_success(request, state, token)
    return 0


def _skipped(request: Request, init: dict[str, Any]) -> list[str]:
    listed = ",".join(request.options.get("--skip-phases", [])).split(",")
    skipped = [phase for phase in [*listed, *(init.get("skipPhases") or [])] if phase]
    known = {"preflight", "addon/kube-proxy", "addon/coredns", "mark-control-plane", "show-join-command"}
    for phase in skipped:
        if phase not in known:
            raise Failed(f"simulated kubeadm: unsupported: --skip-phases={phase}", 64)
    return skipped


def _init_preflight(request: Request, registration: dict[str, Any], version: str, whole: dict[str, Any]) -> None:
    check = Preflight(request, registration)
    minor = cluster.minor(version)
    if int(read("/proc/cpuinfo").count("processor\t")) < 2:
        check.error("NumCPU", "the number of available CPUs 1 is less than the required 2")
    files = [f"{MANIFESTS}/{name}.yaml" for name in cluster.CONTROL_PLANE]
    check_free(check, [6443, 10259, 10257, 10250, 2379, 2380], files, ["/var/lib/etcd"])
    common_checks(check, minor)
    for name in image_names(version, whole):
        try:
            runtime.check_cri()
            runtime.pull(name)
        except Failed as failed:
            check.error("ImagePull", f"failed to pull image {name}: {failed.text}")
    check.end()


def _write_control_plane(state: State, name: str, advertise: str, whole: dict[str, Any]) -> None:
    for path in ("ca", "apiserver", "apiserver-kubelet-client", "front-proxy-ca", "front-proxy-client"):
        _certificate(f"{PKI}/{path}", state["ca"] if path == "ca" else "")
    for path in ("ca", "server", "peer", "healthcheck-client"):
        _certificate(f"{PKI}/etcd/{path}", "")
    _certificate(f"{PKI}/apiserver-etcd-client", "")
    reached("kubeadm has written some certificates")
    write(f"{PKI}/sa.key", cluster.pem("RSA PRIVATE KEY", os.urandom(300)), 0o600)
    write(f"{PKI}/sa.pub", cluster.pem("PUBLIC KEY", os.urandom(200)), 0o600)
    configurations = {"admin": "kubernetes-admin", "controller-manager": "system:kube-controller-manager"}
    configurations |= {"scheduler": "system:kube-scheduler"}
    if cluster.minor(state["version"]) >= 29:
        configurations["super-admin"] = "kubernetes-super-admin"
    for file, account in configurations.items():
        server = state["endpoint"] if file in ("admin", "super-admin") else f"{advertise}:6443"
        write(f"/etc/kubernetes/{file}.conf", cluster.kubeconfig(state, server, account), 0o600)
        print(f'[kubeconfig] Writing "{file}.conf" kubeconfig file')
    reached("kubeadm has written the kubeconfigs")
    for component in cluster.CONTROL_PLANE:
        write(f"{MANIFESTS}/{component}.yaml", configs.static_pod(state, component, advertise, whole), 0o600)
    os.makedirs("/var/lib/etcd/member/snap", exist_ok=True)
    os.makedirs("/var/lib/etcd/member/wal", exist_ok=True)
    write("/var/lib/etcd/member/snap/db", f"{state['id']} {name}\n", 0o600)


def _certificate(path: str, certificate: str) -> None:
    write(f"{path}.crt", certificate or cluster.pem("CERTIFICATE", os.urandom(400)))
    write(f"{path}.key", cluster.pem("RSA PRIVATE KEY", os.urandom(300)), 0o600)


def _write_kubelet(state: State, name: str, registration: dict[str, Any]) -> None:
    resolved = os.path.exists(configs.RESOLVED)
    kubelet = configs.node_kubelet(state.get("kubelet", {}), state["version"], resolved=resolved)
    write("/etc/kubernetes/kubelet.conf", cluster.kubeconfig(state, state["endpoint"], f"system:node:{name}"), 0o600)
    write("/var/lib/kubelet/config.yaml", configs.kubelet_configuration(state, kubelet))
    arguments = configs.arguments(registration.get("kubeletExtraArgs"))
    socket = registration.get("criSocket") or "unix:///run/containerd/containerd.sock"
    words = [f"--container-runtime-endpoint={socket}", *(f"--{key}={value}" for key, value in arguments)]
    write("/var/lib/kubelet/kubeadm-flags.env", f'KUBELET_KUBEADM_ARGS="{" ".join(words)}"\n')
    os.makedirs("/var/lib/kubelet/pki", exist_ok=True)
    write(IDENTITY, state["id"] + "\n")


def _start_kubelet() -> bool:
    """Start the kubelet. Returns whether it can run."""
    systemctl("--quiet", "daemon-reload")
    systemctl("--quiet", "restart", "kubelet")
    return shell(f"{SIM}/systemctl", "--quiet", "is-active", "kubelet") == 0


def _start_control_plane(state: State, name: str, advertise: str, endpoint: str) -> None:
    problem = ""
    if not _start_kubelet():
        problem = read("/run/sim/kubelet-error").strip() or "the kubelet is not running"
    elif advertise != HOST["IP"]:
        problem = f"listen tcp {advertise}:2380: bind: cannot assign requested address"
    else:
        host, _, port = endpoint.rpartition(":")
        try:
            connect(host.strip("[]"), int(port))
        except Failed as failed:
            problem = f'Get "https://{endpoint}/healthz": {failed.text}'
    if problem:
        time.sleep(0.3)
        raise Failed(
            "[kubelet-check] The kubelet is not healthy after 4m0.000000000s\n\n"
            f"Unfortunately, an error has occurred:\n\t{problem}\n\n"
            "error execution phase wait-control-plane: could not initialize a Kubernetes cluster\n"
            "To see the stack trace of this error execute with --v=5 or higher"
        )
    print(
        f"[control-plane-check] kube-apiserver is healthy after 0.2s\n[mark-control-plane] Marking the node {name} as control-plane"
    )


def _add_bootstrap_token(request: Request, init: dict[str, Any], state: State) -> str:
    wanted = (init.get("bootstrapTokens") or [{}])[0]
    token = str(request.get("--token") or wanted.get("token") or _new_token())
    ttl = go_duration(request.get("--token-ttl") or wanted.get("ttl") or "24h0m0s")
    description = wanted.get("description") or "The default bootstrap token generated by 'kubeadm init'."
    state["tokens"][token] = _token_record(ttl, description)
    return token


def _print_success(request: Request, state: State, token: str) -> None:
    print(
        "\nYour Kubernetes control-plane has initialized successfully!\n\n"
        "To start using your cluster, you need to run the following as a regular user:\n\n"
        "  mkdir -p $HOME/.kube\n  sudo cp -i /etc/kubernetes/admin.conf $HOME/.kube/config\n"
        "  sudo chown $(id -u):$(id -g) $HOME/.kube/config\n"
    )
    shown = "<value withheld>" if request.has("--skip-token-print") else token
    print("Then you can join any number of worker nodes by running the following on each as root:\n")
    print(f"kubeadm join {state['endpoint']} --token {shown} \\\n\t--discovery-token-ca-cert-hash {state['ca_hash']} ")


# --- certificates and tokens -----------------------------------------------------------------------------------------


def _store_certificates(identity: str, key: str) -> str:
    key = key or os.urandom(32).hex()
    with cluster.change(identity) as state:
        state["certificate_keys"] = {key: now() + 2 * 3600}
        state["tokens"][_new_token()] = _token_record(2 * 3600, CERTIFICATES_TOKEN)
    return key


def _print_upload(key: str) -> None:
    print('[upload-certs] Storing the certificates in Secret "kubeadm-certs" in the "kube-system" Namespace')
    print(f"[upload-certs] Using certificate key:\n{key}")


def _admin(request: Request) -> State:
    path = request.get("--kubeconfig") or ADMIN
    if not os.path.exists(path):
        raise Failed(
            f"failed to load admin kubeconfig: open {path}: no such file or directory\nTo see the stack trace of this error execute with --v=5 or higher"
        )
    try:
        return cluster.api(*cluster.credentials(path))
    except Failed as failed:
        raise Failed(
            f"error: {failed.text}\nTo see the stack trace of this error execute with --v=5 or higher"
        ) from None


def _upload_certs(request: Request) -> int:
    need_root()
    if not request.has("--upload-certs"):
        print("[upload-certs] Skipping phase. Please see --upload-certs")
        return 0
    key = request.get("--certificate-key")
    if request.get("--config"):
        key = key or configs.load(request.get("--config"), kubeadm_version()).get("InitConfiguration", {}).get(
            "certificateKey", ""
        )
    _print_upload(_store_certificates(_admin(request)["id"], key))
    return 0


def _new_token() -> str:
    letters = ["abcdefghijklmnopqrstuvwxyz234567"[byte % 32] for byte in os.urandom(22)]
    return "".join(letters[:6]) + "." + "".join(letters[6:])


def _token_record(ttl: float, description: str) -> dict[str, Any]:
    return {"expires": now() + ttl if ttl else None, "description": description}


def _token_create(request: Request) -> int:
    if len(request.words) > 1 or request.has("--dry-run"):
        request.refuse()
    token = (request.words or [_new_token()])[0]
    if not re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token):
        raise Failed(f'the bootstrap token "{token}" was not of the form "\\A([a-z0-9]{{6}})\\.([a-z0-9]{{16}})\\z"')
    ttl = go_duration(request.get("--ttl") or "24h0m0s")
    identity = _admin(request)["id"]
    with cluster.change(identity) as state:
        if any(known.partition(".")[0] == token.partition(".")[0] for known in _living(state)):
            raise Failed(f'a token with id "{token.partition(".")[0]}" already exists')
        state["tokens"][token] = _token_record(ttl, request.get("--description"))
    if not request.has("--print-join-command"):
        print(token)
        return 0
    key = request.get("--certificate-key")
    more = f"--control-plane --certificate-key {key} " if key else ""
    print(f"kubeadm join {state['endpoint']} --token {token} --discovery-token-ca-cert-hash {state['ca_hash']} {more}")
    return 0


def _living(state: State) -> dict[str, dict[str, Any]]:
    """Tokens that have not expired. The controller manager deletes expired ones."""
    return {t: r for t, r in state["tokens"].items() if r["expires"] is None or r["expires"] > now()}


def _token_list(request: Request) -> int:
    tokens = _living(_admin(request))
    if not tokens:
        return 0
    print(
        "TOKEN                     TTL         EXPIRES                USAGES                   DESCRIPTION   EXTRA GROUPS"
    )
    for token, record in tokens.items():
        left = "<forever>" if record["expires"] is None else f"{int(record['expires'] - now()) // 60}m"
        until = "<never>" if record["expires"] is None else cluster.stamp(record["expires"])
        description = record["description"] or "<none>"
        print(
            f"{token}   {left:<11} {until:<22} authentication,signing   {description}   system:bootstrappers:kubeadm:default-node-token"
        )
    return 0


def _token_delete(request: Request) -> int:
    if not request.words:
        raise Failed("missing argument; 'token delete' requires at least one token")
    identity = _admin(request)["id"]
    with cluster.change(identity) as state:
        for word in request.words:
            name = word.partition(".")[0]
            if not re.fullmatch(r"[a-z0-9]{6}", name):
                raise Failed(f'given token or token id "{word}" didn\'t match pattern')
            for token in [t for t in state["tokens"] if t.partition(".")[0] == name]:
                if state["tokens"].pop(token)["description"] == CERTIFICATES_TOKEN:
                    state["certificate_keys"] = {}
            print(f'bootstrap token "{name}" deleted')
    return 0


def _token_generate(_request: Request) -> int:
    print(_new_token())
    return 0


def _certificate_key(_request: Request) -> int:
    print(os.urandom(32).hex())
    return 0


def _check_expiration(request: Request) -> int:
    state = _admin(request)
    left = int((state["created"] + 365 * 24 * 3600 - now()) // (24 * 3600))
    print(
        "CERTIFICATE                EXPIRES                  RESIDUAL TIME   CERTIFICATE AUTHORITY   EXTERNALLY MANAGED"
    )
    for name in ("admin.conf", "apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-client"):
        print(
            f"{name:<26} {cluster.stamp(state['created'] + 365 * 24 * 3600):<24} {left}d            ca                      no"
        )
    return 0


# --- join ------------------------------------------------------------------------------------------------------------


def _join_settings(request: Request) -> dict[str, Any]:
    if request.get("--config"):
        if request.words or request.get("--token"):
            raise Failed("can not mix '--config' with arguments [token]")
        return dict(configs.load(request.get("--config"), kubeadm_version()).get("JoinConfiguration") or {})
    if len(request.words) != 1:
        raise Failed('discovery: Invalid value: "": bootstrapToken or file must be set')
    settings: dict[str, Any] = {
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": request.words[0],
                "token": request.get("--token", "--discovery-token"),
                "caCertHashes": request.options.get("--discovery-token-ca-cert-hash", []),
            }
        },
        "nodeRegistration": {"name": request.get("--node-name") or None},
    }
    if request.has("--control-plane"):
        settings["controlPlane"] = {
            "certificateKey": request.get("--certificate-key"),
            "localAPIEndpoint": {"advertiseAddress": request.get("--apiserver-advertise-address") or HOST["IP"]},
        }
    return settings


def _join(request: Request) -> int:
    need_root()
    settings = _join_settings(request)
    registration = settings.get("nodeRegistration") or {}
    discovery = (settings.get("discovery") or {}).get("bootstrapToken") or {}
    as_control_plane = "controlPlane" in settings
    print("[preflight] Running pre-flight checks")
    _join_preflight(request, registration, as_control_plane)
    state = _discover(discovery)
    name = registration.get("name") or os.uname().nodename.lower()
    print('[preflight] Reading configuration from the "kubeadm-config" ConfigMap in namespace "kube-system"...')
    _check_versions(state)
    if as_control_plane:
        _join_as_control_plane(state, name, settings["controlPlane"])
    else:
        write(f"{PKI}/ca.crt", state["ca"])
        reached("kubeadm has written the CA's certificate")
    _bootstrap_kubelet(state, name, registration)
    taints = registration.get("taints")
    if taints is None:
        key = "node-role.kubernetes.io/control-plane"
        taints = [{"key": key, "effect": "NoSchedule"}] if as_control_plane else []
    with cluster.change(state["id"]) as current:
        role = "control-plane" if as_control_plane else "worker"
        cluster.add_node(current, name, HOST["IP"], role, list(taints))
        if as_control_plane:
            current["members"][name] = HOST["IP"]
    publish()
    cluster.settle(cluster.load(state["id"]))
    if as_control_plane:
        print("\nThis node has joined the cluster and a new control plane instance was created:\n")
    else:
        print(
            "\nThis node has joined the cluster:\n* Certificate signing request was sent to apiserver and a response was received."
        )
    return 0


def _join_preflight(request: Request, registration: dict[str, Any], as_control_plane: bool) -> None:
    check = Preflight(request, registration)
    files = ["/etc/kubernetes/kubelet.conf", "/etc/kubernetes/bootstrap-kubelet.conf"]
    if not as_control_plane:
        files.append(f"{PKI}/ca.crt")
    directories = [MANIFESTS] if not as_control_plane else ["/var/lib/etcd"]
    ports = [10250, *([6443, 10259, 10257, 2379, 2380] if as_control_plane else [])]
    check_free(check, ports, files, directories)
    common_checks(check, cluster.minor(kubeadm_version()))
    check.end()


_IDENTITY_ERROR = "error execution phase preflight: couldn't validate the identity of the API Server: "
_STACK = "\nTo see the stack trace of this error execute with --v=5 or higher"


def _discover(discovery: dict[str, Any]) -> State:
    """Discover the cluster as a joining node does: connect, check the token's signature, pin the CA."""
    endpoint, token = discovery.get("apiServerEndpoint") or "", discovery.get("token") or ""
    hashes = discovery.get("caCertHashes") or []
    if not re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token):
        raise Failed(f'discovery.bootstrapToken.token: Invalid value: "": the bootstrap token is invalid{_STACK}')
    if not hashes and not discovery.get("unsafeSkipCAVerification"):
        raise Failed(
            'discovery.bootstrapToken: Invalid value: "": using token-based discovery without caCertHashes can be unsafe. '
            "Set unsafeSkipCAVerification as true in your kubeadm config file or pass --discovery-token-unsafe-skip-ca-verification flag to continue"
        )
    host, _, port = endpoint.rpartition(":")
    state = _reach(endpoint, host.strip("[]"), port)
    living = _living(state)
    same_id = [known for known in living if known.partition(".")[0] == token.partition(".")[0]]
    if not same_id:
        name = token.partition(".")[0]
        raise Failed(
            f'{_IDENTITY_ERROR}could not find a JWS signature in the cluster-info ConfigMap for token ID "{name}"{_STACK}'
        )
    if token not in living:
        raise Failed(
            f"{_IDENTITY_ERROR}failed to verify JWS signature of received cluster info object, can't trust this API Server{_STACK}"
        )
    if hashes and state["ca_hash"] not in hashes:
        raise Failed(
            f"{_IDENTITY_ERROR}cluster CA found in cluster-info ConfigMap is invalid: none of the public keys "
            f'"{state["ca_hash"]}" are pinned{_STACK}'
        )
    return state


def _reach(endpoint: str, host: str, port: str) -> State:
    """Connect, with retries for two seconds. The real kubeadm retries for five minutes."""
    deadline = time.monotonic() + 2
    while True:
        try:
            state = cluster.load(connect(host, int(port or 0)))
            cluster.check_quorum(state)
            cluster.check_clock(state)
            return state
        except Failed as failed:
            if time.monotonic() > deadline or "x509" in failed.text:
                detail = failed.text.removeprefix("Unable to connect to the server: ")
                where = f'Get "https://{endpoint}/api/v1/namespaces/kube-public/configmaps/cluster-info?timeout=10s": '
                raise Failed(f"{_IDENTITY_ERROR}{where}{detail}{_STACK}") from None
            time.sleep(0.2)


def _check_versions(state: State) -> None:
    have, there = cluster.minor(kubeadm_version()), cluster.minor(state["version"])
    if not there <= have <= there + 1:
        raise Failed(
            f"error execution phase preflight: unable to fetch the kubeadm-config ConfigMap: this version of kubeadm only "
            f"supports deploying clusters with the control plane version >= 1.{have - 1}.0. Current version: v{state['version']}{_STACK}"
        )
    kubelet = cluster.minor(package_version("kubelet"))
    if kubelet > there:
        raise Failed(
            f"error execution phase preflight: [ERROR KubeletVersion]: the kubelet version is higher than the control plane version{_STACK}"
        )


def _join_as_control_plane(state: State, name: str, settings: dict[str, Any]) -> None:
    if not state["stable_endpoint"]:
        raise Failed(
            "error execution phase preflight: \nOne or more conditions for hosting a new control plane instance is not "
            "satisfied.\n\nunable to add a new control plane instance to a cluster that doesn't have a stable "
            f"controlPlaneEndpoint address{_STACK}"
        )
    key = settings.get("certificateKey") or ""
    expires = state["certificate_keys"].get(key)
    prefix = "error execution phase control-plane-prepare/download-certs: error downloading certs: "
    if not state["certificate_keys"] or (expires is not None and expires < now()):
        raise Failed(
            f'{prefix}error downloading the secret: Secret "kubeadm-certs" was not found in the "kube-system" Namespace. '
            "This Secret might have expired. Please, run `kubeadm init phase upload-certs --upload-certs` on a control plane "
            f"to generate a new one{_STACK}"
        )
    if expires is None:
        raise Failed(
            f"{prefix}error decoding secret data with provided key: cipher: message authentication failed{_STACK}"
        )
    advertise = (settings.get("localAPIEndpoint") or {}).get("advertiseAddress") or HOST["IP"]
    _write_control_plane(state, name, advertise, {})
    for ip in state["members"].values():
        if not cluster.host_serves(ip, 2379, state["id"]):
            raise Failed(
                "error execution phase check-etcd: etcd cluster is not healthy: failed to dial endpoint "
                f"https://{ip}:2379 with maintenance client: context deadline exceeded{_STACK}"
            )


def _bootstrap_kubelet(state: State, name: str, registration: dict[str, Any]) -> None:
    """TLS bootstrap: first a kubeconfig with the token, then the node's own when the kubelet has its certificate."""
    node = state["nodes"].get(name)
    if node and node["ip"] != HOST["IP"] and cluster.node_ready(state, node)[0] == "True":
        raise Failed(
            f'error execution phase kubelet-start: a Node with name "{name}" and status "Ready" already exists in the cluster. '
            f"You must delete the existing Node or change the name of this new joining Node{_STACK}"
        )
    bootstrap = "/etc/kubernetes/bootstrap-kubelet.conf"
    write(bootstrap, cluster.kubeconfig(state, state["endpoint"], "tls-bootstrap-token-user"), 0o600)
    reached("kubeadm has written bootstrap-kubelet.conf")
    print('[kubelet-start] Writing kubelet configuration to file "/var/lib/kubelet/config.yaml"')
    _write_kubelet(state, name, registration)
    kubeconfig = read("/etc/kubernetes/kubelet.conf")
    os.unlink("/etc/kubernetes/kubelet.conf")
    print(
        "[kubelet-start] Starting the kubelet\n[kubelet-check] Waiting for a healthy kubelet at http://127.0.0.1:10248/healthz"
    )
    if not _start_kubelet():
        time.sleep(0.3)
        problem = read("/run/sim/kubelet-error").strip()
        raise Failed(
            f"[kubelet-check] The kubelet is not healthy after 4m0.0s: {problem}\n"
            f"error execution phase kubelet-wait-bootstrap: failed while waiting for TLS bootstrap{_STACK}"
        )
    reached("kubeadm has started the kubelet")
    write("/etc/kubernetes/kubelet.conf", kubeconfig, 0o600)
    os.unlink(bootstrap)
    reached("kubeadm has written kubelet.conf")


# --- reset -----------------------------------------------------------------------------------------------------------


def _reset(request: Request) -> int:
    need_root()
    if not request.has("-f", "--force"):
        print("[reset] Are you sure you want to proceed? [y/N]: ", end="", flush=True)
        if sys.stdin.readline().strip().lower() != "y":
            raise Failed("error execution phase preflight: aborted reset operation")
    identity = read(IDENTITY).strip()
    if identity and cluster.exists(identity):
        with cluster.change(identity) as state:
            _leave_etcd(state)
    print("[reset] Stopping the kubelet service")
    if os.path.exists("/usr/lib/systemd/system/kubelet.service"):
        systemctl("--quiet", "stop", "kubelet")
    for directory in (MANIFESTS, "/var/lib/kubelet", PKI, "/var/lib/etcd", "/var/lib/cni", "/etc/kubernetes/tmp"):
        _empty(directory)
    print(f"[reset] Deleting contents of directories: [{MANIFESTS} /var/lib/kubelet {PKI}]")
    names = ["admin", "super-admin", "kubelet", "bootstrap-kubelet", "controller-manager", "scheduler"]
    for name in names:
        if os.path.exists(f"/etc/kubernetes/{name}.conf"):
            os.unlink(f"/etc/kubernetes/{name}.conf")
    if os.path.exists(IDENTITY):
        os.unlink(IDENTITY)
    publish()
    cluster.wake(HOST["IP"])
    if not active("containerd"):
        print("[reset] Failed to remove containers: the container runtime is not running", file=sys.stderr)
    print(
        "\nThe reset process does not perform cleanup of CNI plugin configuration,\nnetwork filtering rules and kubeconfig files."
    )
    return 0


def _leave_etcd(state: State) -> None:
    """Remove the etcd member of a control plane host that is reset, if the other members have a quorum."""
    if os.path.isdir("/var/lib/etcd/member"):
        state["members"] = {name: ip for name, ip in state["members"].items() if ip != HOST["IP"]}


def _empty(directory: str) -> None:
    if not os.path.isdir(directory):
        return
    for name in os.listdir(directory):
        path = f"{directory}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
