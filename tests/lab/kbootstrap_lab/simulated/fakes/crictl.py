"""crictl: images, and the pods of this host in the cluster's state."""

from __future__ import annotations

import json
import re

from kbootstrap_lab.simulated.fakes import cluster, runtime
from kbootstrap_lab.simulated.fakes.common import HOST, Failed, hostname, read, run_main, unsupported, user


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    words = _without_endpoints(argv)
    if words in (["--version"], ["-v"]):
        print(f"crictl version v{_tools_version()}")
        return 0
    if not words:
        unsupported(command, argv)
    if user() != "root":
        raise Failed(f"FATA[0000] {runtime_error('permission denied')}")
    try:
        runtime.check_cri()
    except Failed as failed:
        raise Failed(f"FATA[0000] {failed.text}") from None
    verb, rest = words[0], words[1:]
    verbs = {
        "version": _version,
        "info": _info,
        "pull": _pull,
        "images": _images,
        "image": _images,
        "inspecti": _inspect_image,
        "rmi": _remove_image,
        "pods": _pods,
        "ps": _ps,
        "stopp": _nothing,
        "rmp": _nothing,
        "stop": _nothing,
        "rm": _nothing,
    }
    if verb not in verbs or not verbs[verb](rest):
        unsupported(command, argv)
    return 0


def _without_endpoints(argv: list[str]) -> list[str]:
    words, result = iter(argv), []
    for word in words:
        if word in ("-r", "--runtime-endpoint", "-i", "--image-endpoint", "-t", "--timeout", "-c", "--config"):
            _check_endpoint(next(words, "")) if "endpoint" in word or word in ("-r", "-i") else next(words)
        elif word.startswith(("--runtime-endpoint=", "--image-endpoint=")):
            _check_endpoint(word.partition("=")[2])
        elif not word.startswith(("--timeout=", "--config=")):
            result.append(word)
    if result == argv and "runtime-endpoint" in read("/etc/crictl.yaml"):
        match = re.search(r"^runtime-endpoint:\s*\"?([^\s\"]+)", read("/etc/crictl.yaml"), re.MULTILINE)
        _check_endpoint(match[1] if match else "")
    return result


def _check_endpoint(endpoint: str) -> None:
    if endpoint.removeprefix("unix://") not in (
        "/run/containerd/containerd.sock",
        "/var/run/containerd/containerd.sock",
    ):
        raise Failed(f"FATA[0000] {runtime_error(f'dial unix {endpoint}: connect: no such file or directory')}")


def runtime_error(detail: str) -> str:
    return f"validate service connection: rpc error: code = Unavailable desc = connection error: {detail}"


def _tools_version() -> str:
    text = read("/var/lib/rpm/cri-tools") or read("/var/lib/dpkg/status.d/cri-tools")
    match = re.search(r"^Version: ([\d.]+)", text, re.MULTILINE)
    return match[1] if match else "0"


def containerd_version() -> str:
    text = read("/var/lib/rpm/containerd.io") or read("/var/lib/dpkg/status.d/containerd.io")
    match = re.search(r"^Version: ([\d.]+)", text, re.MULTILINE)
    return match[1] if match else "0"


def _version(rest: list[str]) -> bool:
    print(
        f"Version:  0.1.0\nRuntimeName:  containerd\nRuntimeVersion:  v{containerd_version()}\nRuntimeApiVersion:  v1"
    )
    return not rest


def _info(rest: list[str]) -> bool:
    ready = bool(cluster.cni_config())
    message = "" if ready else "Network plugin returns error: cni plugin not initialized"
    config = read(runtime.CONFIG)
    pause = re.search(r'^\s*(?:sandbox_image|sandbox) *= *"([^"]+)"', config, re.MULTILINE)
    print(
        json.dumps(
            {
                "status": {
                    "conditions": [
                        {"type": "RuntimeReady", "status": True, "reason": "", "message": ""},
                        {
                            "type": "NetworkReady",
                            "status": ready,
                            "reason": "" if ready else "NetworkPluginNotReady",
                            "message": message,
                        },
                    ]
                },
                "config": {
                    "sandboxImage": pause[1] if pause else "registry.k8s.io/pause:3.8",
                    "containerd": {
                        "runtimes": {"runc": {"options": {"SystemdCgroup": "SystemdCgroup = true" in config}}}
                    },
                },
            },
            indent=2,
        )
    )
    return rest in ([], ["-o", "json"], ["--output", "json"])


def _pull(rest: list[str]) -> bool:
    if len(rest) != 1 or rest[0].startswith("-"):
        return False
    try:
        name = runtime.pull(rest[0])
    except Failed as failed:
        raise Failed(
            f"E1124 00:00:00.000000 remote_image.go] {failed.text}\nFATA[0001] pulling image: {failed.text}"
        ) from None
    print(f"Image is up to date for sha256:{runtime.image_id(name)}")
    return True


def _images(rest: list[str]) -> bool:
    rest = [word for word in rest if word not in ("ls", "list")]
    names = runtime.images()
    if rest in (["-q"], ["--quiet"]):
        print("".join(f"sha256:{runtime.image_id(name)}\n" for name in names), end="")
    elif rest in (["-o", "json"], ["--output", "json"], ["--output=json"]):
        rows = [
            {"id": f"sha256:{runtime.image_id(name)}", "repoTags": [name], "repoDigests": [], "size": "1"}
            for name in names
        ]
        print(json.dumps({"images": rows}, indent=2))
    elif not rest:
        print(f"{'IMAGE':<55} {'TAG':<20} {'IMAGE ID':<15} SIZE")
        for name in names:
            repository, _, tag = name.rpartition(":")
            print(f"{repository:<55} {tag:<20} {runtime.image_id(name)[:13]:<15} 28MB")
    else:
        return False
    return True


def _inspect_image(rest: list[str]) -> bool:
    quiet = [word for word in rest if word not in ("-q", "--quiet", "-o", "json")]
    if len(quiet) != 1:
        return False
    name = runtime.full_name(quiet[0])
    if name not in runtime.images():
        raise Failed(f'FATA[0000] no such image "{quiet[0]}" present')
    print(json.dumps({"status": {"id": f"sha256:{runtime.image_id(name)}", "repoTags": [name]}}, indent=2))
    return True


def _remove_image(rest: list[str]) -> bool:
    if not rest or rest[0].startswith("-"):
        return False
    names = [runtime.full_name(word) for word in rest]
    for name in names:
        if name not in runtime.images():
            raise Failed(f'E1124 remote_image.go] "RemoveImage from image service failed" no such image "{name}"')
    runtime.remove(names)
    return True


def pods_here() -> list[dict[str, object]]:
    identity = read("/var/lib/sim/cluster").strip()
    if not identity or not cluster.exists(identity):
        return []
    state = cluster.load(identity)
    name = next((n for n, node in state["nodes"].items() if node["ip"] == HOST["IP"]), hostname())
    return [pod for pod in cluster.pods(state) if pod["spec"].get("nodeName") == name]


def _pods(rest: list[str]) -> bool:
    found = pods_here()
    if rest in (["-q"], ["--quiet"]):
        print("".join(f"{pod['metadata']['uid']}\n" for pod in found), end="")  # type: ignore[index]
        return True
    if rest:
        return False
    print("POD ID              CREATED             STATE               NAME                NAMESPACE")
    for pod in found:
        meta = pod["metadata"]
        print(f"{meta['uid'][:13]}  now  Ready  {meta['name']}  {meta['namespace']}")  # type: ignore[index]
    return True


def _ps(rest: list[str]) -> bool:
    if set(rest) - {"-a", "--all", "-q", "--quiet"}:
        return False
    found = pods_here()
    if set(rest) & {"-q", "--quiet"}:
        print("".join(f"{pod['metadata']['uid']}\n" for pod in found), end="")  # type: ignore[index]
        return True
    print("CONTAINER           IMAGE               CREATED             STATE               NAME                POD")
    for pod in found:
        for status in pod["status"].get("containerStatuses", []):  # type: ignore[attr-defined]
            state = "Running" if status["ready"] else "Exited"
            print(f"{pod['metadata']['uid'][:13]}  {status['image']}  now  {state}  {status['name']}")  # type: ignore[index]
    return True


def _nothing(rest: list[str]) -> bool:
    """Stop or remove pods: does nothing, because pods exist only in the cluster's state."""
    return bool(rest)
