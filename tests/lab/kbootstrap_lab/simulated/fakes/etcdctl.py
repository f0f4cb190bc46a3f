"""etcdctl: the members of a cluster's etcd, as etcdctl in an etcd pod lists them."""

from __future__ import annotations

import hashlib

from kbootstrap_lab.simulated.fakes.cluster import State, host_serves
from kbootstrap_lab.simulated.fakes.common import Failed, unsupported

PKI = "/etc/kubernetes/pki/etcd"
ACCESS = {
    "--endpoints=https://127.0.0.1:2379",
    f"--cacert={PKI}/ca.crt",
    f"--cert={PKI}/server.crt",
    f"--key={PKI}/server.key",
}
"""Options that the real etcdctl needs to find the server and to authenticate."""


def run(state: State, argv: list[str]) -> int:
    """List, add and remove members. The list includes members that do not answer."""
    words = [word for word in argv if word not in ACCESS]
    if len(argv) - len(words) != len(ACCESS):
        raise Failed("Error: context deadline exceeded")
    if words[:2] == ["member", "list"] and len(words) == 2:
        for name, ip in state["members"].items():
            started = host_serves(ip, 2379, state["id"])
            print(
                f"{member_id(name)}, {'started' if started else 'unstarted'}, {name if started else ''}, "
                f"https://{ip}:2380, {f'https://{ip}:2379' if started else ''}, false"
            )
    elif words[:2] == ["member", "remove"] and len(words) == 3:
        found = [name for name in state["members"] if member_id(name) == words[2]]
        if not found:
            raise Failed("Error: etcdserver: member not found")
        del state["members"][found[0]]
        print(f"Member {words[2]} removed from cluster {state['id']}")
    elif words[:2] == ["member", "add"] and len(words) == 4 and words[3].startswith("--peer-urls=https://"):
        state["members"][words[2]] = words[3].removeprefix("--peer-urls=https://").rpartition(":")[0]
        print(f"Member {member_id(words[2])} added to cluster {state['id']}")
    else:
        unsupported("etcdctl", argv)
    return 0


def member_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]
