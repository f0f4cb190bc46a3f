"""The errors of a lab."""

from __future__ import annotations

from collections.abc import Iterable

from kbootstrap.errors import KbootstrapError


class LabError(KbootstrapError):
    """A lab cannot be made, found or removed."""


def no_such_lab(name: str) -> LabError:
    return LabError(
        f"there is no lab named {name}", "`kbootstrap lab status` lists the labs, `kbootstrap lab up` starts one."
    )


def no_such_host(name: str, host: str, hosts: Iterable[str]) -> LabError:
    return LabError(f"lab {name} has no host {host}", f"It has {', '.join(hosts)}.")
