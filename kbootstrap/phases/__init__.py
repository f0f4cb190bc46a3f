"""The ordered lists of phases per command. Each phase is in the folder of its name."""

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
"""Phases that change nothing. They must end on every host before `up` makes its first change."""

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
"""From a cluster back to plain hosts with their original settings."""

VERIFY: tuple[Phase, ...] = (verify.PHASE,)
STATUS: tuple[Phase, ...] = (status.PHASE,)
