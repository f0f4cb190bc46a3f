"""Validates an inventory by its models, with a readable message for every mistake."""

from __future__ import annotations

import datetime
import difflib
import re
from typing import Any

from pydantic import ValidationError

from kbootstrap.inventory.fields import MAX_SHOWN
from kbootstrap.inventory.models import (
    Bastion,
    Cluster,
    ExtraArgs,
    Host,
    Inventory,
    Kubeadm,
    Model,
    Network,
    Preflight,
    Proxy,
    Runtime,
    Ssh,
)
from kbootstrap.inventory.source import KeyPath, Source
from kbootstrap.inventory.yaml_mistakes import guess

MAX_MISTAKES = 500
"""Mistakes that are looked at. A file with more is something else than an inventory."""


def validated(source: Source) -> Inventory | None:
    if not isinstance(source.data, dict):
        source.add((), "an inventory is a mapping with the keys cluster and hosts")
        return None
    if "cluster" not in source.data and {"apiVersion", "kind"} <= set(source.data):
        kind = f"{source.data['kind']} of {source.data['apiVersion']}"[:MAX_SHOWN]
        source.add(
            (), f"this is a file of another program ({kind}); `kbootstrap init --help` lists those that it imports"
        )
        return None
    try:
        return Inventory.model_validate(source.data)
    except ValidationError as error:
        items = [(_place(item), item) for item in error.errors(include_url=False)[:MAX_MISTAKES]]
        meant = {place: _meant(place) for place, item in items if item["type"] == "extra_forbidden"}
        # One typo is one mistake: a secret that could not be read is not empty too, a key that is written wrong is not
        # missing too, and a list is not too short because its members are wrong.
        reported = {problem.place for problem in source.problems}
        reported |= {
            (*place[:-1], name) for place, name in meant.items() if name and not _has(source.data, place, name)
        }
        for place, item in items:
            if place not in reported and not (item["type"] == "too_short" and item["input"]):
                source.add(place, _error_text(item, place, meant.get(place, "")))
                reported.add(place)
        return None


def _place(item: Any) -> KeyPath:
    """The key path of an error of pydantic, without the parts that stand for no key of the file."""
    return tuple(part for part in item["loc"] if part != "[key]")


def _has(data: Any, place: KeyPath, name: str) -> bool:
    """Whether the section that holds the key ``place`` also holds a key ``name``."""
    for part in place[:-1]:
        data = data[part]
    return name in data


def _error_text(item: Any, place: KeyPath, meant: str) -> str:
    kind, value, limits = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "missing":
        return "this key is missing"
    if kind == "extra_forbidden":
        found = f"did you mean {meant!r}?" if meant else _home(place) or f"the keys here are {', '.join(_keys(place))}"
        return f"unknown key; {found}"
    if kind in ("model_type", "dict_type", "tuple_type", "list_type") and value is None:
        return "this is empty: write what belongs here, or remove the key"
    if kind in ("model_type", "dict_type") and isinstance(value, str):
        # Without the value: it may be a password, where only the space after `password:` is missing.
        sign = guess([value], 0)
        return "this must be a mapping (key: value)" + (f"; {sign.text}" if sign else "")
    if kind == "literal_error":
        return _not_one_of(place, value, limits["expected"])
    if kind == "value_error":
        return str(limits["error"])
    if kind == "string_type":
        plain = isinstance(value, (bool, int, float, datetime.date))
        return "this must be text" + (f'; write it in quotes: "{str(value).lower()}"' if plain else "")
    if kind in ("tuple_type", "list_type") and isinstance(value, (str, int)):
        return f"this must be a list: [{value}]"
    if kind == "int_type" and isinstance(value, str) and value.strip().isdigit():
        return f"this must be a whole number: {value.strip()} without quotes"
    if kind == "bool_type" and isinstance(value, str):
        return "this must be true or false, without quotes"
    for kinds, text in _WRONG.items():
        if kind in kinds:
            return text.format(value=value, **limits)
    return str(item["msg"]).lower()


_WRONG = {
    ("model_type", "dict_type"): "this must be a mapping (key: value)",
    ("tuple_type", "list_type"): "this must be a list",
    ("int_type", "int_parsing", "int_parsing_size", "int_from_float", "finite_number"): "this must be a whole number",
    ("bool_type", "bool_parsing"): "this must be true or false",
    ("path_type",): "this must be the path of a file",
    ("greater_than_equal",): "{value} is too small: at least {ge}",
    ("less_than_equal",): "{value} is too large: at most {le}",
    ("string_too_long",): "this is too long: at most {max_length} characters",
    ("too_short",): "this needs at least {min_length}",
    ("too_long",): "this can have at most {max_length}",
}
"""pydantic's error types as messages for an author of YAML."""


def _not_one_of(place: KeyPath, value: object, expected: str) -> str:
    alike = _alike(value, expected) if isinstance(value, str) else ""
    if alike:
        return f"{value!r} is not one of {expected}; did you mean {alike!r}?"
    is_runtime = place[-2:] in (("cluster", "runtime"), ("runtime", "name"))
    if is_runtime and isinstance(value, str) and value in _OTHER_RUNTIMES:
        return f"{value!r} cannot be the runtime: {_OTHER_RUNTIMES[value]}"
    meant = " (master means control-plane)" if place[-1:] == ("role",) else ""
    if isinstance(value, bool):
        meant = " (YAML reads yes, no, on and off as true and false; put a word in quotes)"
    return f"{value!r} is not one of {expected}{meant}"


_SYNONYMS = {
    **dict.fromkeys(("node", "agent", "slave", "minion", "compute"), "worker"),
    **dict.fromkeys(("master", "controller", "server", "manager", "primary", "control"), "control-plane"),
    **dict.fromkeys(("off", "false"), "disabled"),
}
"""Words of other tools, and of the programs themselves, for values of an inventory."""


def _alike(value: str, expected: str) -> str:
    """The value that was probably meant: written in another way, another tool's word, or with a typo."""
    values: list[str] = re.findall(r"'([^']*)'", expected)
    plain = value.strip().lower().replace("_", "-").replace(" ", "-")
    for candidate in (plain, _SYNONYMS.get(plain, "")):
        for each in values:
            if candidate in (each, each.replace("-", "")):
                return each
    return next(iter(difflib.get_close_matches(plain, values, n=1, cutoff=0.7)), "")


_DOCKER = "use containerd; Docker can stay installed beside it"
_OTHER_RUNTIMES = {
    "docker": f"Docker does not implement the container runtime interface (CRI); {_DOCKER}",
    "dockershim": f"Kubernetes 1.24 removed dockershim; kbootstrap does not set it up for older versions; {_DOCKER}",
    "cri-dockerd": f"kbootstrap does not install cri-dockerd; {_DOCKER}",
    "cri-o": "kbootstrap installs only containerd",
    "crio": "kbootstrap installs only containerd",
    "podman": "Podman does not implement the container runtime interface (CRI); use containerd",
}


def _meant(place: KeyPath) -> str:
    """The key of the same section that an unknown key is similar to; empty for a key of another section."""
    keys = _keys(place)
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(place[-1])).lower().replace("-", "_")
    if _OTHER_KEYS.get(plain) in keys:
        return _OTHER_KEYS[plain]
    return next(iter(difflib.get_close_matches(plain, keys, n=1, cutoff=0.85 if _home(place) else 0.65)), "")


_OTHER_KEYS = {
    "ip": "address",
    "host": "address",
    "hostname": "name",
    "private_address": "internal_address",
    "nodes": "hosts",
    "machines": "hosts",
    "servers": "hosts",
    "roles": "role",
    "version": "kubernetes",
    "kubernetes_version": "kubernetes",
    "pod_subnet": "pod_cidr",
    "pod_network_cidr": "pod_cidr",
    "service_subnet": "service_cidr",
    "endpoint": "control_plane_endpoint",
    "cni": "network",
    "container_runtime": "runtime",
    "identity_file": "key",
    "private_key": "key",
    "key_path": "key",
    "jump_host": "bastions",
    "proxy_jump": "bastions",
    "bastion": "bastions",
}
"""Other tools' words for keys."""


def _home(place: KeyPath) -> str:
    """Where a key belongs that is unknown in its section; empty for one that is known nowhere."""
    name = _OTHER_KEYS.get(str(place[-1]), str(place[-1]))
    if name in Inventory.model_fields:
        return f"{name} belongs to the top of the file"
    homes = [section for section, model in _SECTIONS.items() if name in model.model_fields and section != "bastions"]
    return f"{name} belongs to {' or '.join(homes)}" if homes else ""


def _keys(place: KeyPath) -> list[str]:
    """The keys of the section that holds a key."""
    model: type[Model] = Inventory
    for part in place[:-1]:
        model = _SECTIONS.get(str(part), model)
    return list(model.model_fields)


_SECTIONS: dict[str, type[Model]] = {
    "cluster": Cluster,
    "ssh": Ssh,
    "hosts": Host,
    "bastions": Bastion,
    "runtime": Runtime,
    "network": Network,
    "kubeadm": Kubeadm,
    "preflight": Preflight,
    "proxy": Proxy,
    "extra_args": ExtraArgs,
}
