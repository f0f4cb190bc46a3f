"""The parts of the virtual machines that need neither QEMU nor root."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
import yaml

from kbootstrap import load_inventory
from kbootstrap_lab import LabError
from kbootstrap_lab.vm import guest, images, inventory, labs, network, qemu, server

MACS = ("52:54:00:00:00:00", "52:54:00:00:00:01", "52:54:00:00:00:02")


def host(name: str, port: int) -> labs.LabHost:
    return labs.LabHost(name, "127.0.0.1", port, "debian12", "running", f"10.200.0.{port}", "uuid", MACS)


def test_no_packet_of_a_machine_leaves_this_one() -> None:
    words = qemu.command(
        "kb-demo-1-cp1",
        "cp1",
        accelerated="tcg",
        image=Path("/image"),
        memory_mib=2560,
        port=2201,
        uuid="uuid",
        macs=MACS,
        taps=(7, 8),
    )
    nets = [words[index + 1] for index, word in enumerate(words) if word == "-netdev"]
    assert nets == [
        "user,id=nat,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:2201-10.0.2.15:22",
        "tap,id=lan1,fd=7",
        "tap,id=lan2,fd=8",
    ]
    assert {word for word in words if word.startswith("virtio-net-pci")} == {
        f"virtio-net-pci,netdev={name},mac={mac}" for name, mac in zip(qemu.NICS, MACS, strict=True)
    }
    assert "-nodefaults" in words, "QEMU adds a network card of its own otherwise"


def test_the_inventory_has_the_forwarded_port_and_the_address_of_the_other_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kbootstrap_lab.containers.inventory.fingerprint", lambda: "A" * 40)
    lab = labs.Lab("demo", (host("cp1", 11), host("w1", 12)), "kb", "kb-demo-1", "tcg", Path("/image"), tmp_path)
    (tmp_path / "lab.yaml").write_text(inventory.text(lab, password=False, sudo_password=False))
    read = load_inventory(tmp_path / "lab.yaml")
    assert [(each.name, each.node_ip, each.role) for each in read.hosts] == [
        ("cp1", "10.200.0.11", "control-plane"),
        ("w1", "10.200.0.12", "worker"),
    ]
    written = yaml.safe_load((tmp_path / "lab.yaml").read_text())
    places = [(each["address"], each["ssh"]["port"]) for each in written["hosts"]]
    assert places == [("127.0.0.1", 11), ("127.0.0.1", 12)]
    assert written["ssh"]["connect_timeout"] == 60, "a machine without KVM is slow"


def test_a_lab_is_read_as_it_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    directory = tmp_path / "kbootstrap" / "labs" / "demo"
    directory.mkdir(parents=True)
    lab = labs.Lab("demo", (host("cp1", 11),), "kb", "kb-demo-1", "kvm", Path("/image"), directory)
    labs.keep(lab)
    assert labs.kept("demo") == lab
    with pytest.raises(LabError, match="lab demo has no host w9"):
        lab.host("w9")
    with pytest.raises(LabError, match="there is no lab named other"):
        labs.kept("other")


def test_the_time_server_answers_clients_only() -> None:
    request = bytes([4 << 3 | 3, 0, 6]) + bytes(37) + struct.pack("!2I", 12, 34)
    reply = server.answer(request, 1000.5)
    assert reply is not None
    first, stratum, poll = reply[:3]
    assert (first, stratum, poll) == (4 << 3 | 4, 5, 6)
    assert struct.unpack_from("!2I", reply, 24) == (12, 34), "the client's own time comes back"
    assert struct.unpack_from("!2I", reply, 40) == (1000 + 2208988800, 2**31)
    assert server.answer(reply, 0) is None
    assert server.answer(request[:20], 0) is None


def test_a_swap_partition_is_where_the_partition_table_says(tmp_path: Path) -> None:
    disk = tmp_path / "swap.img"
    images._swap_disk(disk)
    content = disk.read_bytes()
    start, sectors = struct.unpack_from("<2I", content, 446 + 8)
    assert content[510:512] == b"\x55\xaa"
    assert content[446 + 4] == 0x82
    assert content[start * 512 + 4086 : start * 512 + 4096] == b"SWAPSPACE2"
    assert (start + sectors) * 512 == len(content)
    pages = struct.unpack_from("<I", content, start * 512 + 1028)[0]
    assert (pages + 1) * 4096 == sectors * 512


def test_a_process_with_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "cp1.pid"
    record.write_text(str(os.getpid()))
    qemu.end(record, "a mark that this process does not have")
    record.write_text("nonsense")
    qemu.end(record, "mark")
    qemu.end(tmp_path / "missing.pid", "mark")


class FakeAgent:
    """The QEMU guest agent: one command at a time, and old bytes before its first answer."""

    def __init__(self, path: Path) -> None:
        self.asked: list[dict[str, object]] = []
        self._polls = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b'{"return": 1}\n\xff{"return": 2}\n')
            for line in stream:
                asked = json.loads(line.lstrip(b"\xff"))
                self.asked.append(asked)
                stream.write((b"\xff" if line[:1] == b"\xff" else b"") + self._answer(asked) + b"\n")
                stream.flush()

    def _answer(self, asked: dict[str, object]) -> bytes:
        arguments = asked["arguments"]
        assert isinstance(arguments, dict)
        if asked["execute"] == "guest-sync-delimited":
            return json.dumps({"return": arguments["id"]}).encode()
        if asked["execute"] == "guest-exec":
            return b'{"return": {"pid": 7}}'
        self._polls += 1
        if self._polls == 1:
            return b'{"return": {"exited": false}}'
        return b'{"return": {"exited": true, "exitcode": 3, "out-data": "aGVsbG8=", "err-data": "b29wcw=="}}'

    def close(self) -> None:
        self._listening.close()


def test_a_command_runs_through_the_guest_agent(tmp_path: Path) -> None:
    folder = tmp_path / ("a-long-name-" * 15)
    folder.mkdir()
    place = os.open(folder, os.O_PATH)
    agent = FakeAgent(Path(f"/proc/self/fd/{place}/cp1.agent"))
    try:
        done = guest.run(folder / "cp1.agent", "false", stdin="secret")
    finally:
        agent.close()
        os.close(place)
    assert (done.returncode, done.stdout, done.stderr) == (3, "hello", "oops")
    started = next(each for each in agent.asked if each["execute"] == "guest-exec")
    assert started["arguments"] == {
        "path": "/bin/sh",
        "arg": ["-c", "false"],
        "capture-output": True,
        "input-data": "c2VjcmV0",
    }


def test_an_agent_that_says_nothing_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "SYNC_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "cp1.agent"))
        listening.listen()
        began = time.monotonic()
        with pytest.raises(guest.Silent):
            guest.run(tmp_path / "cp1.agent", "true")
        assert time.monotonic() - began < 5
    with pytest.raises(guest.Silent):
        guest.run(tmp_path / "cp1.agent", "true")


def test_addresses_of_machines_are_in_the_network() -> None:
    assert network.GATEWAY in map(str, network.SUBNET.hosts())
    assert network.SUBNET[network.FIRST_HOST + 100] in network.SUBNET
