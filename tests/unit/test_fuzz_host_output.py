"""The facts and the values of a host that sends any bytes in any pieces: read, or one kind of error; in bounded memory.

How the parser cuts lines is in test_fuzz_hosts.py; here its lines go on to the readers.
"""

from __future__ import annotations

import base64
import itertools
import random
import time

from hypothesis import event, given
from hypothesis import strategies as st
from support.fuzzing import cases

from kbootstrap.errors import KbootstrapError
from kbootstrap.remote.facts import Facts, parse
from kbootstrap.remote.script import MAX_LINE, MAX_VALUE, Output, Parser, Report, decode_value
from kbootstrap.text import printable

MARK = "@kb-0123456789abcdef"
SAID = b"""\
os_id=centos
os_version=9
os_name=CentOS Stream 9
os_like=rhel fedora
arch=x86_64
kernel=5.14.0-1
uid=0
systemd=1
cgroup2=1
cpus=2
memory_kib=4194304
disk_free_kib=41943040
hostname=cp1
machine_id=0123456789abcdef
product_uuid=0123-ABCD
mac=eth0 52:54:00:00:00:01
address=eth0 10.0.0.1/24
address=eth0 fe80::1/64
route=default eth0
route=10.0.0.0/24 eth0
listening=0016
listening=1F90
udp=0044
selinux=1
runtime=containerd
has=modprobe
epoch=1700000000.5
init_begun=1
node_name=cp1
apiserver_version=v1.34.2
complete=1
"""
PIECES = [
    b"\n",
    b"=",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\x1b[31m",
    b"\x1b]0;x",
    b" ",
    b"-",
    b"9" * 5000,
    b"x" * 70_000,
]
PIECES += [
    b"nan",
    b"inf",
    b"1e999",
    b"0x10",
    b"1_0",
    b"\xd9\xa3",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b"complete=1\n",
    b"/999",
]
PIECES += [
    b"has=x\n" * 5001,
    b"address=\n",
    b"route=\n",
    b"mac=\n",
    b"mac= \n",
    b"listening=-1\n",
    b"epoch=\n",
    b"cpus=\n",
]
PIECES += [
    MARK.encode(),
    MARK.encode() + b" value join ",
    MARK.encode() + b" end facts ok\n",
    b"os_like=" + b"a " * 3000,
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    text = SAID
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 0, 1, 10, 100])))
        other = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from(PIECES) | st.binary(max_size=6) | st.just(text[other : other + 50]))
        text = text[:start] + new + text[end:]
    return text


@cases(40, 10_000)
@given(damaged(), st.randoms(use_true_random=False), st.integers(0, 30))
def test_facts_of_any_bytes_in_any_pieces(data: bytes, random: random.Random, cuts: int) -> None:
    parser = Parser(MARK)
    bounds = sorted({0, len(data), *(random.randrange(len(data) + 1) for _ in range(cuts))})
    items: list[Report | Output] = []
    begun = time.process_time()
    for a, b in itertools.pairwise(bounds):
        items += parser.feed(data[a:b])
        assert len(parser._rest) <= MAX_LINE + 2 * MAX_VALUE
        assert len(parser._rest) <= MAX_LINE + len(MARK) + 1 or MARK.encode() + b" " in parser._rest
        assert parser.received == b
    items += parser.end()
    lines = [item.line for item in items if isinstance(item, Output)]
    assert all(len(line) <= MAX_LINE for line in lines)
    try:
        facts = parse(lines, received_at=1.7e9)
    except KbootstrapError as error:
        event("refused")
        said = error.message
    else:
        event("taken")
        assert isinstance(facts, Facts)
        said = repr(facts)
        assert facts.family in ("el", "debian", "")
        assert facts.cluster_state in ("fresh", "member", "half")
    assert time.process_time() - begun < 5
    assert printable(said) == said
    assert len(said) < 50_000 + 3 * len(data)
    said.encode()


@cases(40, 10_000)
@given(
    st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())
    | st.text(max_size=40)
    | st.text("AZaz09+/=\n -_", max_size=20)
    | st.sampled_from(["A" * (MAX_VALUE * 4 // 3 + 5), "QUFB" * (MAX_VALUE // 3), "=" * 100])
)
def test_a_value_is_the_text_of_its_base64_or_refused(text: str) -> None:
    try:
        value = decode_value(text)
    except ValueError as error:
        said = str(error)
        assert len(said) < 300
    else:
        assert len(value.encode()) <= MAX_VALUE + 3
        assert value.encode() == base64.b64decode(text)
