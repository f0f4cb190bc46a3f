"""Linux distributions: the package family and the release that fit a host, from the fields of its /etc/os-release.

Packages are built for a few distributions, and many others are rebuilds or relatives of these. The tables have the
names of the fields as the distributions' own images have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Family = Literal["el", "debian", ""]

_EL = {"centos", "rhel", "fedora", "openeuler"}
"""Distributions whose name says the family. Their relatives have one of them in ID_LIKE."""
_EL_WITHOUT_LIKE = {"rocky", "almalinux", "ol", "anolis", "kylin", "amzn", "alinux", "tencentos", "opencloudos"}
_DEBIAN = {"debian", "ubuntu", "raspbian"}

_PLATFORM = re.compile(r"platform:(?:el|al|an)(7|8|9|10)\Z")
"""PLATFORM_ID of RHEL and its rebuilds (el9), Alibaba Cloud Linux 3 (al8) and Anolis OS 8 (an8)."""
_BASE: Mapping[str, Mapping[str, str]] = {
    "anolis": {"7": "7", "8": "8", "23": "9"},
    "alinux": {"2": "7", "3": "8"},
    "amzn": {"2023": "9"},
    "kylin": {"V10": "8", "V11": "9"},
    "opencloudos": {"3": "8", "4": "9", "8": "8", "9": "9"},
    "openeuler": {"20": "8", "22": "9", "24": "9"},
    "tencentos": {"2": "7", "3": "8", "4": "9"},
}
"""The EL release whose packages run on a release of another numbering. The C library decides: glibc 2.17 is EL 7,
2.28 is EL 8, 2.34 and newer is EL 9."""
EL_RELEASES = ("7", "8", "9", "10")
SUPPORTED = "Supported: CentOS and RHEL 7 to 10, Fedora, openEuler, Debian, Ubuntu, and relatives of these."


@dataclass(frozen=True)
class OsRelease:
    """The fields of /etc/os-release that decide, as the host has them."""

    id: str = ""
    version: str = ""
    like: tuple[str, ...] = ()
    platform: str = ""
    codename: str = ""
    ubuntu_codename: str = ""
    debian_codename: str = ""

    @property
    def family(self) -> Family:
        """The package family; empty when kbootstrap does not support it."""
        names = (self.id.lower(), *(name.lower() for name in self.like))
        # Kylin's desktop has the same ID as its server, and is a Debian.
        if any(name in _DEBIAN for name in names):
            return "debian"
        return "el" if any(name in _EL | _EL_WITHOUT_LIKE for name in names) else ""

    @property
    def release(self) -> str:
        """What packages are built for: an EL major such as ``9``, Fedora's own number, or a codename such as ``noble``.

        Empty when the tables do not know it.
        """
        return self._codename() if self.family == "debian" else self._el_release()

    @property
    def base(self) -> str:
        """The distribution that the release belongs to: ``el``, ``fedora``, ``debian`` or ``ubuntu``."""
        if self.family != "debian":
            return "fedora" if self.id.lower() == "fedora" else "el"
        return "ubuntu" if self.ubuntu_codename or self.id.lower() == "ubuntu" else "debian"

    def _el_release(self) -> str:
        name, major = self.id.lower(), self.version.partition(".")[0]
        platform = _PLATFORM.match(self.platform)
        if platform is not None:
            return platform[1]
        if name in _BASE:
            return _BASE[name].get(major, "")
        return major if name == "fedora" or major in EL_RELEASES else ""

    def _codename(self) -> str:
        """Mint and others name the Ubuntu or the Debian that they are made of."""
        own = self.codename if self.id.lower() in _DEBIAN else ""
        return self.ubuntu_codename or self.debian_codename or own
