"""Field types of an inventory: the syntax of single values, each with its error message."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from kbootstrap import versions
from kbootstrap.inventory.mirrors import OS_REPOSITORIES
from kbootstrap.secret import Secret

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_KEY = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
LABEL = re.compile(rf"{_KEY}\Z")
LABEL_VALUE = re.compile(rf"{_VALUE}\Z")
TAINT = re.compile(rf"{_KEY}(={_VALUE})?:(NoSchedule|PreferNoSchedule|NoExecute)\Z")
_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]{}-]+(/[!#-&(-\[\]-~]*)?\Z")
"""Printable ASCII without quotes and backslash, and no user or password: files that everyone can read will have it."""
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?\Z")
_GPG = re.compile(r"[0-9A-F]{40}\Z")
_REGISTRY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?\Z")
NO_PROXY = re.compile(r"(\*?\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5}|/[0-9]{1,2})?\Z")
IMAGES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*\Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@\\-]*\Z")


def matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.match(text) or len(text) > 2000:
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


def _url(text: str) -> str:
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("a user or a password in a URL is not supported: every user of a host could read it")
    if not _URL.match(text):
        raise ValueError(f"{text!r} is not an http:// or https:// address")
    return text.rstrip("/")


def archive(text: str) -> str:
    if text in ("keep", *OS_REPOSITORIES):
        return text
    try:
        return _url(text)
    except ValueError as error:
        raise ValueError(f"{error}; or write {', '.join(OS_REPOSITORIES)} or keep") from None


def _no_control(text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("a value must not contain control characters or newlines")
    return text


def _as_secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("a secret must be text; put a number in quotes")
    if "\n" in value or "\0" in value:
        raise ValueError("a secret must be one line")
    return Secret(value)


def _upper(value: object) -> object:
    return value.replace(" ", "").upper() if isinstance(value, str) else value


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def cidr(text: object) -> ipaddress.IPv4Network:
    if isinstance(text, ipaddress.IPv4Network):
        return text
    try:
        network = ipaddress.ip_network(str(text), strict=True)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 10.244.0.0/16 ({error})") from None
    if not isinstance(network, ipaddress.IPv4Network):
        raise ValueError("IPv6 and dual-stack clusters are not supported yet")
    return network


def ipv4(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None
    if address.version != 4:
        raise ValueError("IPv6 addresses are not supported yet")
    return text


def kubernetes_version(text: str) -> str:
    versions.parse(text)
    return text


def endpoint(text: str) -> str:
    match = re.match(r"[A-Za-z0-9.-]{1,253}:([1-9][0-9]{0,4})\Z", text)
    if match is None or int(match[1]) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    return text


def _usable_path(path: Path) -> Path:
    _no_control(str(path))
    try:
        path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {str(path).partition('/')[0]!r}") from None
    return path


Plain = Annotated[str, AfterValidator(_no_control)]
Name = Annotated[str, matching(_NAME, "a name of lower-case letters, digits, '-' and '.'")]
HostName = Annotated[Name, Field(max_length=63)]
"""Linux takes 64 characters, a DNS label 63."""
Url = Annotated[str, AfterValidator(_url)]
Cidr = Annotated[
    ipaddress.IPv4Network, BeforeValidator(cidr), WithJsonSchema({"type": "string", "format": "ipv4-cidr"})
]
SecretText = Annotated[Secret, BeforeValidator(_as_secret), WithJsonSchema({"type": "string", "writeOnly": True})]
GpgKeys = Annotated[
    tuple[Annotated[str, BeforeValidator(_upper), matching(_GPG, "a GPG fingerprint of 40 hex digits")], ...],
    BeforeValidator(_one_or_many),
]
HostKey = Annotated[str, matching(_FINGERPRINT, "a fingerprint such as SHA256:... (see ssh-keygen -lf)")]
File = Annotated[Path, AfterValidator(_usable_path)]
Port = Annotated[int, Field(ge=1, le=65535)]
Registry = Annotated[str, matching(_REGISTRY, "a registry such as docker.io or registry.example.com:5000")]
ImageRepository = Annotated[str, matching(IMAGES, "an image repository such as registry.k8s.io")]
Word = Annotated[str, matching(_WORD, "one word of letters, digits, '.', '_' and '-'")]
Address = Annotated[str, matching(re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}\Z"), "an IPv4 address or a DNS name")]

Requirement = Literal[
    "address",
    "architecture",
    "cgroup-v1",
    "clock",
    "cpus",
    "disk",
    "interface",
    "kernel",
    "kernel-modules",
    "mac-address",
    "machine-id",
    "memory",
    "memory-cgroup",
    "name-resolution",
    "package-conflicts",
    "package-excludes",
    "package-sources",
    "ports",
    "product-uuid",
    "routes",
    "systemd",
]
"""The requirements that an inventory can turn into warnings; product-uuid is never more. The rest say that `up` would
have nothing to work on."""
