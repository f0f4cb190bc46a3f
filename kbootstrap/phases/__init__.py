"""The ordered lists of phases per command, on one page. Each phase lives in the folder of its name."""

from __future__ import annotations

from kbootstrap.model import Phase
from kbootstrap.phases import (
    images,
    init,
    join,
    kubeconfig,
    labels,
    network,
    packages,
    preflight,
    prepare,
    repository,
    reset,
    runtime,
    status,
    token,
    untoken,
    verify,
)

UP: tuple[Phase, ...] = (
    preflight.PHASE,
    prepare.PHASE,
    runtime.PHASE,
    repository.PHASE,
    packages.PHASE,
    images.PHASE,
    init.PHASE,
    kubeconfig.PHASE,
    network.PHASE,
    token.PHASE,
    join.PHASE,
    untoken.PHASE,
    labels.PHASE,
    verify.PHASE,
)
"""From plain hosts to a cluster that was looked at."""

RESET: tuple[Phase, ...] = (reset.DRAIN, reset.PHASE, reset.FORGET, reset.RESTORE)
"""Back to plain hosts, each with what it had before."""

PREFLIGHT = preflight.PHASE
CHECK: tuple[Phase, ...] = (PREFLIGHT,)
VERIFY: tuple[Phase, ...] = (verify.PHASE,)
STATUS: tuple[Phase, ...] = (status.PHASE,)
