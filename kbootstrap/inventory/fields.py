"""Field types of an inventory: the syntax of single values, each with its error message."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from kbootstrap import versions
from kbootstrap.inventory.mirrors import OS_REPOSITORIES
from kbootstrap.secret import Secret

MAX_TEXT = 2000
MAX_SHOWN = 300
"""Characters of a value, and of a wrong one in an error."""

_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
_KEY = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_BYTE = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(\.{_BYTE}){{3}}"
_CIDR = rf"{_IPV4}/([0-9]|[12][0-9]|3[0-2])"
_GPG = r" *([0-9A-Fa-f] *){40}"
_IMAGES = r"[A-Za-z0-9][A-Za-z0-9._:/-]*"
_URL = r"https?://[A-Za-z0-9._:\[\]{}-]+(/[!#-&(-\[\]-~]*)?"
"""Printable ASCII without quotes and backslash, and no user or password: files that everyone can read will have it."""


@dataclass(frozen=True)
class Form:
    """The form of a text: a regular expression for all of it, and ``what`` it is in words.

    It is the check of the loader and the pattern of the JSON Schema. ``said`` finds better words for some mistakes.
    """

    pattern: str
    what: str
    said: Callable[[str], str] = lambda text: ""

    def check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text) or len(text) > MAX_TEXT:
            shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
            raise ValueError(self.said(text) or f"{shown!r} is not {self.what}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^({self.pattern})$", "maxLength": MAX_TEXT}


@dataclass(frozen=True)
class ShortForm:
    """A text that stands for a section or a list: ``long`` makes it, ``schema`` is the text's JSON Schema."""

    long: Callable[[str], Any]
    schema: Mapping[str, Any]

    def _lengthened(self, value: object) -> object:
        return self.long(value) if isinstance(value, str) else value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._lengthened, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [dict(self.schema), handler(schema)]}


def short_name(name: str) -> ShortForm:
    """``runtime: containerd`` for ``runtime: {name: containerd}``."""
    return ShortForm(lambda text: {"name": text}, {"const": name})


# --- words for mistakes ----------------------------------------------------------------------------------------------


def _not_a_url(text: str) -> str:
    if "@" in text.partition("://")[2].partition("/")[0]:
        return "a user or a password in a URL is not supported: every user of a host could read it"
    return ""


def _not_an_address(text: str) -> str:
    if "://" in text:
        return f"{text!r}: write only the address, without a scheme"
    if _is_ipv6(text):
        return "IPv6 addresses are not supported yet"
    user, at, place = text.rpartition("@")
    colon, port = place.partition(":")[1:]
    if at or colon:
        keys = " and ".join([f"user: {user}"] * bool(user) + [f"port: {port}"] * bool(port))
        return f"{text!r}: write only the address here" + (f"; {keys} go to ssh" if keys else "")
    if re.fullmatch(r"[0-9./]+", text):
        return f"{text!r} is not an IPv4 address: {_why_not_ipv4(text)}"
    return ""


def _why_not_ipv4(text: str) -> str:
    parts = text.split(".")
    if "/" in text:
        return "write it without the prefix length"
    if len(parts) != 4 or "" in parts:
        return "it has four numbers with dots between them"
    if any(int(part) > 255 for part in parts):
        return "its numbers go from 0 to 255"
    return "its numbers have no leading zeros"


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _not_an_endpoint(text: str) -> str:
    if "://" in text:
        return f"{text!r} is not host:port: write it without a scheme"
    if re.fullmatch(r"[A-Za-z0-9.-]+", text):
        return f"{text!r} is not host:port: write {text}:6443, or the port of your load balancer"
    return ""


def _not_an_image_repository(text: str) -> str:
    return f"{text!r}: write the image repository without a scheme" if "://" in text else ""


def _not_a_name(text: str) -> str:
    better = text.lower().replace("_", "-")
    if re.fullmatch(_NAME, better):
        return f"{text!r} is not a name of lower-case letters, digits, '-' and '.'; {better!r} is one"
    return ""


# --- single values ---------------------------------------------------------------------------------------------------


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


def cidr(text: object) -> ipaddress.IPv4Network:
    """The network of a text such as 10.244.0.0/16. Raises ValueError."""
    if isinstance(text, ipaddress.IPv4Network):
        return text
    if isinstance(text, str) and re.fullmatch(_IPV4, text):
        raise ValueError(f"{text!r} has no prefix length: write {text}/16, or how large the network is")
    if isinstance(text, str) and ":" in text and "/" in text:
        raise ValueError("IPv6 and dual-stack clusters are not supported yet")
    if not isinstance(text, str) or not re.fullmatch(_CIDR, text):
        raise ValueError(f"{text!r} is not a network such as 10.244.0.0/16")
    network = ipaddress.IPv4Network(text, strict=False)
    if text.partition("/")[0] != str(network.network_address):
        raise ValueError(f"{text!r} is an address within a network: write {network}")
    return network


def ipv4(text: str) -> str:
    """The text, if it is an IPv4 address. Raises ValueError."""
    return _IPV4_ADDRESS.check(text)


def kubernetes_version(text: str) -> str:
    versions.parse(text)
    return text


def _usable_path(path: Path) -> Path:
    _no_control(str(path))
    try:
        path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {str(path).partition('/')[0]!r}") from None
    return path


def _without_slash(text: str) -> str:
    return text.rstrip("/")


_IPV4_ADDRESS = Form(_IPV4, "an IPv4 address", _not_an_address)

Flag = Annotated[bool, Strict()]
Number = Annotated[int, Strict()]
_PLAIN_SCHEMA = WithJsonSchema({"type": "string", "pattern": r"^[^\u0000-\u001f\u007f]*$"})
Plain = Annotated[str, AfterValidator(_no_control), _PLAIN_SCHEMA]
Name = Annotated[str, Form(_NAME, "a name of lower-case letters, digits, '-' and '.'", _not_a_name)]
HostName = Annotated[Name, Field(max_length=63)]
"""Linux takes 64 characters, a DNS label 63."""
Url = Annotated[str, Form(_URL, "an http:// or https:// address", _not_a_url), AfterValidator(_without_slash)]
Cidr = Annotated[
    ipaddress.IPv4Network, BeforeValidator(cidr), WithJsonSchema({"type": "string", "pattern": f"^{_CIDR}$"})
]
SecretText = Annotated[
    Secret,
    BeforeValidator(_as_secret),
    WithJsonSchema({"type": ["string", "number", "boolean"], "pattern": r"^[^\n\u0000]+$", "writeOnly": True}),
]
"""A number is taken as it is written in the file."""
GpgKey = Annotated[
    str, Form(_GPG, "a GPG fingerprint of 40 hex digits"), AfterValidator(lambda text: text.replace(" ", "").upper())
]
GpgKeys = Annotated[tuple[GpgKey, ...], ShortForm(lambda text: (text,), {"type": "string", "pattern": f"^{_GPG}$"})]
HostKey = Annotated[str, Form(r"SHA256:[A-Za-z0-9+/]{43}=?", "a fingerprint such as SHA256:... (see ssh-keygen -lf)")]
File = Annotated[Path, AfterValidator(_usable_path), _PLAIN_SCHEMA]
Port = Annotated[Number, Field(ge=1, le=65535)]
Registry = Annotated[
    str,
    Form(
        r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?",
        "a registry such as docker.io or registry.example.com:5000",
    ),
]
ImageRepository = Annotated[
    str, Form(rf"(?!.*//){_IMAGES}", "an image repository such as registry.k8s.io", _not_an_image_repository)
]
Word = Annotated[str, Form(r"[A-Za-z0-9][A-Za-z0-9._@\\-]*", "one word of letters, digits, '.', '_' and '-'")]
Address = Annotated[
    str,
    Form(rf"(?![0-9.]+$)[A-Za-z0-9_][A-Za-z0-9._-]{{0,252}}|{_IPV4}", "an IPv4 address or a DNS name", _not_an_address),
]
IPv4 = Annotated[str, _IPV4_ADDRESS]
Endpoint = Annotated[str, Form(rf"[A-Za-z0-9.-]{{1,253}}:{_PORT}", "host:port", _not_an_endpoint)]
KubernetesVersion = Annotated[
    str, AfterValidator(kubernetes_version), WithJsonSchema({"type": "string", "pattern": versions.pattern()})
]
Archive = Annotated[
    str,
    Form(
        rf"{'|'.join((*OS_REPOSITORIES, 'keep'))}|{_URL}",
        f"{', '.join(OS_REPOSITORIES)}, keep, or an http:// or https:// address",
        _not_a_url,
    ),
    AfterValidator(_without_slash),
]
NoProxy = Annotated[
    str,
    Form(
        r"(\*?\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5}|/[0-9]{1,2})?",
        "a name, a domain, an address or a network",
    ),
]
Label = Annotated[str, Form(_KEY, "a label name")]
LabelValue = Annotated[str, Form(_VALUE, "a label value")]
Taint = Annotated[
    str, Form(rf"{_KEY}(={_VALUE})?:(NoSchedule|PreferNoSchedule|NoExecute)", "a taint such as key=value:NoSchedule")
]
KubeadmCheck = Annotated[str, Form(_IMAGES, "the name of a check")]
KubeadmPhase = Annotated[str, Form(_IMAGES, "a phase such as addon/kube-proxy")]
Role = Annotated[
    Literal["control-plane", "worker"],
    ShortForm(lambda text: "control-plane" if text == "master" else text, {"const": "master"}),
]

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
    "selinux",
    "systemd",
]
"""The requirements that an inventory can turn into warnings; product-uuid is never more. The rest say that `up` would
have nothing to work on."""
