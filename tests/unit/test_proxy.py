"""A proxy for everything that the hosts fetch."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.examples import context, inventory
from support.private_host import Host

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.proxy import environment
from kbootstrap.phases.runtime import PHASE as RUNTIME
from kbootstrap.remote.script import build, quote
from kbootstrap.steps import Step

PROXY = "http://proxy.example.com:3128"


def with_proxy(folder: Path, workers: int = 1, **proxy: Any) -> dict[str, str]:
    return environment(inventory(folder, lambda data: data.update(proxy=proxy), workers=workers))


def test_what_belongs_to_the_cluster_is_never_behind_the_proxy(tmp_path: Path) -> None:
    found = with_proxy(tmp_path, http=PROXY, no_proxy=["mirror.example.com", ".corp"])
    assert found["http_proxy"] == found["https_proxy"] == found["HTTPS_PROXY"] == PROXY
    direct = found["no_proxy"].split(",")
    for name in (
        "localhost",
        "10.244.0.0/16",
        "10.96.0.0/12",
        ".svc",
        ".cluster.local",
        "192.168.1.10",
        "192.168.1.11",
    ):
        assert name in direct
    assert direct[-2:] == ["mirror.example.com", ".corp"]
    assert len(direct) == len(set(direct))
    assert found["NO_PROXY"] == found["no_proxy"]


def test_two_proxies_and_none(tmp_path: Path) -> None:
    found = with_proxy(tmp_path, http=PROXY, https="http://other.example.com:3129")
    assert (found["http_proxy"], found["https_proxy"]) == (PROXY, "http://other.example.com:3129")
    assert "http_proxy" not in with_proxy(tmp_path, https=PROXY)
    assert with_proxy(tmp_path) == {}
    assert with_proxy(tmp_path, no_proxy=["a.example"]) == {}


def test_the_variable_of_many_hosts_does_not_grow_without_end(tmp_path: Path) -> None:
    found = with_proxy(tmp_path, workers=200, http=PROXY)
    assert "192.168.1.0/24" in found["no_proxy"].split(",")
    assert len(found["no_proxy"]) < 300


@pytest.mark.parametrize(
    ("proxy", "place"),
    [
        ({"http": "proxy:3128"}, "proxy.http"),
        ({"http": "http://user:secret@proxy:3128"}, "proxy.http"),
        ({"no_proxy": ["a b"]}, "proxy.no_proxy[0]"),
        ({"no_proxy": ["$(reboot)"]}, "proxy.no_proxy[0]"),
        ({"ftp": PROXY}, "proxy.ftp"),
    ],
)
def test_a_wrong_proxy_is_refused(tmp_path: Path, proxy: dict[str, Any], place: str) -> None:
    with pytest.raises(InventoryError) as refused:
        with_proxy(tmp_path, **proxy)
    assert place in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_programs_of_a_script_get_the_variables(shell: str, tmp_path: Path) -> None:
    step = Step("read", "R", "status/read.sh", "W.")
    script = build([step], "el", {"http_proxy": PROXY, "no_proxy": "a b$(touch x)"})
    printed = script.replace(f"kb_begin {quote('read')}", "env; exit", 1)
    done = subprocess.run([shell, "-s", "plan"], input=printed, capture_output=True, text=True, cwd=tmp_path)
    assert {f"http_proxy={PROXY}", "no_proxy=a b$(touch x)"} <= set(done.stdout.splitlines())
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_containerd_gets_the_proxy_and_loses_it_again(shell: str, tmp_path: Path) -> None:
    made = inventory(tmp_path, lambda data: data.update(proxy={"http": PROXY}))
    folder = tmp_path / "host"
    folder.mkdir()
    host = Host(folder, shell)
    step = next(step for step in RUNTIME.steps(context(made), made.hosts[0]) if step.id == "proxy")
    none = replace(step, params={"PROXY": ""})
    drop_in = "etc/systemd/system/containerd.service.d/kbootstrap-proxy.conf"
    assert host.run("plan", none)[0] == "ok"
    assert host.run("plan", step)[0] == "change"
    assert host.run("apply", step)[0] == "changed"
    assert f'Environment="https_proxy={PROXY}"\n' in host.read(drop_in)
    assert host.read(drop_in).count("Environment=") == 6
    assert host.run("apply", step)[0] == "ok"
    assert host.run("apply", none)[0] == "changed"
    assert not (folder / drop_in).parent.exists()
