"""Hosts from an Ansible inventory. Uses the group and variable names of kubespray and similar projects."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.ansible_source import AnsibleInventory, parse
from kbootstrap.inventory.generate import NewBastion, NewHost, checked, port
from kbootstrap.inventory.imported import Imported, Passwords, listed, renamed, renames, with_variables
from kbootstrap.text import counted

CONTROL_PLANES = ("kube_control_plane", "kube-control-plane", "kube_master", "kube-master", "masters", "master")
WORKERS = ("kube_node", "kube-node", "workers", "worker", "nodes")
BASTIONS = ("bastion", "bastions")

_ADDRESS = ("ansible_host", "ansible_ssh_host")
_USER = ("ansible_user", "ansible_ssh_user")
_PORT = ("ansible_port", "ansible_ssh_port")
_KEY = ("ansible_ssh_private_key_file", "ansible_private_key_file")
_NODE_IP = ("ip", "access_ip")
_LOGIN_PASSWORD = ("ansible_password", "ansible_ssh_password", "ansible_ssh_pass")
_SUDO_PASSWORD = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
_SSH_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args")
_USED = {*_ADDRESS, *_USER, *_PORT, *_KEY, *_NODE_IP, *_LOGIN_PASSWORD, *_SUDO_PASSWORD, *_SSH_ARGUMENTS}
_OURS = {"ansible_become", "ansible_become_method", "ansible_become_user", "ansible_python_interpreter"}
"""kbootstrap always becomes root with sudo, and needs no Python on a host."""


def from_ansible(text: str) -> Imported:
    """Hosts and notes from an Ansible inventory: INI, YAML, or the JSON of `ansible-inventory --list`."""
    source = parse(text)
    control_planes = _members(source, CONTROL_PLANES)
    workers = _members(source, WORKERS)
    if not control_planes:
        raise InventoryError(
            "this Ansible inventory has no group of control plane hosts",
            f"Add one of the groups {', '.join(CONTROL_PLANES)}. [inventory]",
        )
    names = renamed(dict.fromkeys([*control_planes, *workers]))
    variables = {name: source.variables(name) for name in names}
    jumps = tuple(_bastion(name, source.variables(name)) for name in _members(source, BASTIONS)[:1])
    passwords = {new: _passwords(variables[old]) for old, new in names.items()}
    hosts, notes = with_variables(
        [_host(old, new, old in control_planes, variables[old], jumps) for old, new in names.items()], passwords
    )
    both = {names[old] for old in control_planes if old in workers}
    hosts = [replace(host, schedulable=host.name in both) for host in hosts]
    return Imported(checked(hosts, len(control_planes)), (*renames(names), *notes, *_notes(source, variables)))


def _passwords(known: Mapping[str, str]) -> Passwords:
    return Passwords(_first(known, _LOGIN_PASSWORD), _first(known, _SUDO_PASSWORD))


def _host(name: str, new: str, control_plane: bool, known: Mapping[str, str], jumps: tuple[NewBastion, ...]) -> NewHost:
    address = _one(name, known, _ADDRESS) or name
    node_ip = _one(name, known, _NODE_IP)
    return NewHost(
        new,
        address,
        control_plane,
        _one(name, known, _USER),
        port(_one(name, known, _PORT) or "22"),
        _one(name, known, _KEY),
        "" if node_ip == address else node_ip,
        bastions=_jumps(name, known) or jumps,
    )


def _bastion(name: str, known: Mapping[str, str]) -> NewBastion:
    return NewBastion(
        _one(name, known, _ADDRESS) or name,
        _one(name, known, _USER),
        port(_one(name, known, _PORT) or "22"),
        _one(name, known, _KEY),
    )


def _first(known: Mapping[str, str], keys: Iterable[str]) -> str:
    return next((known[key] for key in keys if known.get(key)), "")


def _one(name: str, known: Mapping[str, str], keys: Iterable[str]) -> str:
    value = _first(known, keys)
    if "{{" in value or "{%" in value:
        raise InventoryError(
            f"{name}: {next(key for key in keys if known.get(key))} is a template: {value}",
            "Write the value itself into the Ansible inventory. [inventory]",
        )
    return value


def _members(source: AnsibleInventory, names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(host for name in names for host in source.hosts(name)))


# --- arguments of ssh ------------------------------------------------------------------------------------------------


def _jumps(name: str, known: Mapping[str, str]) -> tuple[NewBastion, ...]:
    """The bastions in `-J HOST,...`, `-o ProxyJump=HOST,...` or `-o ProxyCommand="ssh -W %h:%p HOST"`."""
    for key in _SSH_ARGUMENTS:
        text = _one(name, known, (key,))
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise InventoryError(f"{name}: {key} cannot be read: {error}") from None
        for option, value in _options(words):
            if option == "proxyjump" and value.lower() != "none":
                return tuple(_jump(name, hop) for hop in value.split(","))
            if option == "proxycommand" and value.lower() != "none":
                return (_of_command(name, value),)
    return ()


def _options(words: list[str]) -> Iterable[tuple[str, str]]:
    """The settings that these arguments of ssh give, as in ssh_config."""
    rest = iter(words)
    for word in rest:
        if word.startswith(("-o", "-J")):
            value = word[2:] or next(rest, "")
            key, _, text = value.partition("=") if "=" in value else value.partition(" ")
            yield ("proxyjump", value) if word.startswith("-J") else (key.strip().lower(), text.strip())


def _jump(name: str, hop: str) -> NewBastion:
    found = re.fullmatch(r"(?:ssh://)?(?:([^@]+)@)?([^@:\[\]]+)(?::(\d+))?", hop.strip())
    if found is None:
        raise InventoryError(f"{name}: {hop!r} is not a bastion", "Write user@host:port. [inventory]")
    return NewBastion(found[2], found[1] or "", port(found[3] or "22"))


def _of_command(name: str, command: str) -> NewBastion:
    """The bastion of `ssh -W %h:%p [-i KEY] [-p PORT] [-l USER] USER@HOST`."""
    words = shlex.split(command)
    values = {"-p": "22", "-l": "", "-i": "", "-W": "", "-o": "", "-F": ""}
    place = ""
    rest = iter(words[1:])
    for word in rest:
        if word[:2] in values:
            values[word[:2]] = word[2:] or next(rest, "")
        elif not word.startswith("-"):
            place = place or word
    if not words or not words[0].endswith("ssh") or not values["-W"] or not place:
        raise InventoryError(
            f"{name}: its ProxyCommand is not `ssh -W %h:%p HOST`: {command}",
            "Write ssh.bastions yourself, or put the ProxyCommand into your ~/.ssh/config and remove it here. "
            "[inventory]",
        )
    made = _jump(name, place)
    return NewBastion(made.address, made.user or values["-l"], port(values["-p"]), values["-i"])


# --- notes -----------------------------------------------------------------------------------------------------------


def _notes(source: AnsibleInventory, variables: Mapping[str, Mapping[str, str]]) -> Iterable[str]:
    """What is not in the new inventory."""
    taken = {*variables, *_members(source, BASTIONS)[:1]}
    left = [name for name in source.of_hosts if name not in taken]
    if left:
        yield f"left out, in no group of control plane or worker hosts: {listed(left)}"
    other = [
        name
        for name, known in variables.items()
        if known.get("ip") and known.get("access_ip") and known["ip"] != known["access_ip"]
    ]
    if other:
        yield f"access_ip is not taken over, ip is: {listed(other)}"
    unused = sorted({key for known in variables.values() for key in known} - _USED - _OURS)
    if unused:
        yield f"{counted(len(unused), 'variable')} not taken over: {listed(unused)}"
    if any(_first(known, _SSH_ARGUMENTS) for known in variables.values()):
        yield "of the arguments of ssh, only ProxyJump and `ssh -W` are taken over"
