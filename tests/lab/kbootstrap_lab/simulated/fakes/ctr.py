"""ctr: the version, images imported from an archive, and the running containers."""

from __future__ import annotations

import json
import sys
import tarfile
from contextlib import ExitStack

from kbootstrap_lab.simulated.fakes import runtime
from kbootstrap_lab.simulated.fakes.common import Failed, active, run_main, unsupported, user
from kbootstrap_lab.simulated.fakes.crictl import pods_here


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    words, namespace = list(argv), "default"
    if words[:1] in (["-n"], ["--namespace"]):
        namespace, words = words[1], words[2:]
    elif words and words[0].startswith(("--namespace=", "-n=")):
        namespace, words = words[0].partition("=")[2], words[1:]
    if words in (["--version"], ["version"]):
        print("ctr containerd.io (simulated)")
        return 0
    if user() != "root" or not active("containerd"):
        raise Failed("ctr: cannot access socket /run/containerd/containerd.sock: no such file or directory")
    if (namespace, words) == ("k8s.io", ["tasks", "ls"]):
        print("TASK    PID    STATUS")
        print("".join(f"{pod['metadata']['uid']}    1    RUNNING\n" for pod in pods_here()), end="")  # type: ignore[index]
        return 0
    if words[:1] not in (["images"], ["image"], ["i"]) or namespace != "k8s.io":
        unsupported(command, argv)
    verb, rest = words[1] if len(words) > 1 else "", [w for w in words[2:] if not w.startswith("--")]
    if verb in ("ls", "list") and (not rest or rest == ["-q"]):
        print("".join(f"{name}\n" for name in runtime.images()), end="")
    elif verb == "import" and len(rest) == 1:
        _import(rest[0])
    elif verb == "pull" and len(rest) == 1:
        print(runtime.pull(rest[0]))
    elif verb in ("rm", "remove") and rest:
        runtime.remove(rest)
    else:
        unsupported(command, argv)
    return 0


def _import(path: str) -> None:
    with ExitStack() as stack:
        try:
            source = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
            archive = stack.enter_context(tarfile.open(fileobj=source, mode="r|*"))
            names = _names(archive)
        except (OSError, tarfile.TarError) as error:
            raise Failed(f"ctr: {error}") from None
    runtime.add([runtime.full_name(name) for name in names])
    print("".join(f"unpacking {name}...done\n" for name in names), end="")


def _names(archive: tarfile.TarFile) -> list[str]:
    for member in archive:
        file = archive.extractfile(member) if member.name == "manifest.json" else None
        if file:
            return [tag for image in json.load(file) for tag in image["RepoTags"]]
    raise Failed("ctr: unrecognized image format")
