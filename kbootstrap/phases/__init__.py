"""The ordered lists of phases per command, on one page. Each phase lives in the folder of its name."""

from __future__ import annotations

from kbootstrap.phases import (
    delete_join_token,
    images,
    init,
    join,
    join_token,
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
    verify,
)
from kbootstrap.phases.phase import Phase

PREFLIGHT: tuple[Phase, ...] = (preflight.PHASE,)
"""What changes nothing and must end on every host before `up` changes anything."""

UP: tuple[Phase, ...] = (
    prepare.PHASE,
    runtime.PHASE,
    repository.PHASE,
    packages.PHASE,
    images.PHASE,
    init.PHASE,
    kubeconfig.PHASE,
    network.PHASE,
    join_token.PHASE,
    join.PHASE,
    delete_join_token.PHASE,
    labels.PHASE,
    verify.PHASE,
)
"""From plain hosts to a verified cluster."""

RESET: tuple[Phase, ...] = (reset.DRAIN, reset.PHASE, reset.FORGET, reset.RESTORE)
"""Back to plain hosts, each with what it had before."""

VERIFY: tuple[Phase, ...] = (verify.PHASE,)
STATUS: tuple[Phase, ...] = (status.PHASE,)
