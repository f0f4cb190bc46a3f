"""Edge cases of the version tables."""

from __future__ import annotations

import datetime
import re

import pytest
from support.examples import ROOT

from kbootstrap.inventory import past_end_of_life
from kbootstrap.versions import (
    NEWEST,
    OLDEST,
    Minor,
    containerd_problem,
    end_of_life,
    kernel,
    kubelet_skew_ok,
    os_problem,
    parse,
    pause_image,
    show,
)
from kbootstrap_lab.simulated.catalogue import KUBERNETES_MINORS


def test_every_known_minor_is_read_as_it_is_shown() -> None:
    for number in range(OLDEST[1], NEWEST[1] + 1):
        assert parse(show((1, number))) == ((1, number), None)


@pytest.mark.parametrize(
    ("minor", "text"),
    [
        (OLDEST[1] - 1, "Kubernetes 1.19 is not supported (from 1.20)"),
        (NEWEST[1] + 1, "Kubernetes 1.38 is not known to this kbootstrap (up to 1.37): upgrade kbootstrap"),
    ],
)
def test_a_minor_beyond_the_table_is_named(minor: int, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        parse(f"1.{minor}.0")


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_the_pages_name_the_versions_of_the_table(page: str) -> None:
    named = re.findall(r"Kubernetes\s+(1\.\d+ to 1\.\d+)", (ROOT / page).read_text())
    assert named == [f"{show(OLDEST)} to {show(NEWEST)}"]


def test_the_simulated_internet_has_every_version_of_the_table() -> None:
    assert [KUBERNETES_MINORS[0], KUBERNETES_MINORS[-1]] == [OLDEST[1], NEWEST[1]]


@pytest.mark.parametrize("text", ["1.٣٤", "1.34.٢", "1.034", "1.34.02", "1.34 .1", "1.34\n.1", "vv1.34"])
def test_only_plain_numbers_are_versions(text: str) -> None:
    with pytest.raises(ValueError, match="is not a Kubernetes version"):
        parse(text)


@pytest.mark.parametrize(
    ("minor", "tag"),
    [(20, "3.2"), (21, "3.4.1"), (22, "3.5"), (23, "3.6"), (24, "3.7"), (25, "3.8"), (26, "3.9"), (30, "3.9"),
     (31, "3.10"), (33, "3.10"), (34, "3.10.1"), (35, "3.10.1"), (36, "3.10.2")],
)  # fmt: skip
def test_the_pause_image_is_the_one_kubeadm_expects(minor: int, tag: str) -> None:
    assert pause_image((1, minor)) == tag


@pytest.mark.parametrize(
    ("kubelet", "api_server", "ok"), [(25, 27, True), (24, 27, False), (25, 28, True), (24, 28, False)]
)
def test_the_skew_grew_with_1_28(kubelet: int, api_server: int, ok: bool) -> None:
    assert kubelet_skew_ok((1, kubelet), (1, api_server)) is ok


@pytest.mark.parametrize(
    ("release", "numbers"),
    [("5.14.0-503.el9.x86_64", (5, 14)), ("6.1.0", (6, 1)), ("4.19", (4, 19)), ("", (0, 0)), ("linux", (0, 0))],
)
def test_kernel_releases(release: str, numbers: tuple[int, int]) -> None:
    assert kernel(release) == numbers


@pytest.mark.parametrize(
    ("el", "release", "minor", "cgroup", "level"),
    [
        ("7", "3.10.0-1160.el7", (1, 31), 1, "warning"),
        ("7", "3.10.0-1160.el7", (1, 32), 1, "error"),
        ("7", "3.10.0-1160.el7", (1, 34), 1, "error"),
        ("8", "4.18.0-513.el8", (1, 31), 2, None),
        ("8", "4.18.0-513.el8", (1, 32), 2, "error"),
        ("8", "4.18.0-513.el8", (1, 33), 2, "error"),
        ("8", "4.18.0-513.el8", (1, 34), 2, "warning"),
        ("", "6.1.0-18-amd64", (1, 30), 1, None),
        ("", "6.1.0-18-amd64", (1, 31), 1, "warning"),
        ("", "6.1.0-18-amd64", (1, 35), 1, "error"),
        ("", "6.1.0-18-amd64", (1, 35), 2, None),
        ("9", "5.14.0-503.el9", (1, 37), 2, None),
    ],
)
def test_what_an_os_is_too_old_for(el: str, release: str, minor: Minor, cgroup: int, level: str | None) -> None:
    problem = os_problem(el, release, minor, cgroup=cgroup)
    assert (problem[0] if problem else None) == level


@pytest.mark.parametrize("minor", [20, 30, 31])
def test_centos_7_gets_the_last_version_that_runs(minor: int) -> None:
    problem = os_problem("7", "3.10.0", (1, minor), cgroup=1)
    assert problem == (
        "warning",
        "EL 7 is past its end of life, and Kubernetes 1.31 is the last version that runs on it",
    )


@pytest.mark.parametrize(
    ("version", "minor", "problem"),
    [
        ("1.6.33", 25, ""),
        ("1.5.18", 26, "needs containerd 1.6.0 or newer"),
        ("1.6.33", 34, ""),
        ("1.6.39", 35, "needs containerd 1.7.28 or 2.1.5 or newer"),
        ("2.0.9", 35, "needs containerd 1.7.28 or 2.1.5 or newer"),
        ("1.7.28", 37, ""),
        ("2.1.5", 35, ""),
        ("2.2", 36, ""),
        ("1.7.29", 38, "needs containerd 2.1.5 or newer"),
        ("2.1.5", 22, "needs containerd 1.x"),
        ("newest", 35, ""),
    ],
)
def test_the_containerd_that_a_minor_needs(version: str, minor: int, problem: str) -> None:
    assert containerd_problem(version, (1, minor)).partition(f"Kubernetes 1.{minor} ")[2] == problem


def test_a_minor_is_past_its_end_from_the_day_after() -> None:
    ended = end_of_life((1, 34))
    assert list(past_end_of_life((1, 34), ended)) == []
    (said,) = past_end_of_life((1, 34), ended + datetime.timedelta(days=1))
    assert "1.34 has had no security fixes since 2026-10-27" in said
    ends = [end_of_life((1, minor)) for minor in range(OLDEST[1], NEWEST[1] + 1)]
    assert ends == sorted(ends), "every minor of OLDEST to NEWEST has an end, and no later one than the next minor"
