"""The errors of a lab."""

from __future__ import annotations

from collections.abc import Iterable

from kbootstrap.errors import KbootstrapError
from kbootstrap.topics import topic_of


class LabError(KbootstrapError):
    """A lab cannot be made, found or removed. A hint ends with a topic: ``[lab]``, unless it names another one."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, f"{hint} [lab]" if hint and not topic_of(hint) else hint)


def no_such_lab(name: str) -> LabError:
    return LabError(
        f"there is no lab named {name}", "`kbootstrap lab status` lists the labs, `kbootstrap lab up` starts one."
    )


def no_such_host(name: str, host: str, hosts: Iterable[str]) -> LabError:
    return LabError(f"lab {name} has no host {host}", f"It has {', '.join(hosts)}.")
