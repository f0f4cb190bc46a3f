"""Values as shell text, and a host's bytes parsed into reports and output."""

from __future__ import annotations

import itertools
import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbootstrap.remote.script import MAX_LINE, Output, Parser, Report, build, decode_value, quote
from kbootstrap.secret import Secret
from kbootstrap.steps import Step

_TEXT = st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))


@pytest.mark.parametrize("shell", ["dash", "bash"])
@settings(max_examples=25, deadline=None)
@given(values=st.lists(_TEXT | st.sampled_from(["'", "''", "$(id)", "`id`", "\\", "\n", "a\nEOF\nb", "-n", "%s"])))
def test_every_value_survives_the_shell(shell: str, values: list[str]) -> None:
    script = "".join(f"V={quote(value)}\nprintf '%s\\0' \"$V\"\n" for value in values)
    said = subprocess.run([shell], input=script.encode(), capture_output=True, check=True)
    assert said.stderr == b""
    assert said.stdout == b"".join(value.encode() + b"\0" for value in values)


def test_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")


def test_parameters_are_shell_variables_in_capitals() -> None:
    with pytest.raises(ValueError, match="capitals"):
        build([Step("x", "X", "prepare/swap.sh", "why", params={"a b": "c"})], "el")


def test_a_secret_parameter_reaches_the_script() -> None:
    text = build([Step("x", "X", "prepare/swap.sh", "why", params={"TOKEN": Secret("it's")})], "el")
    assert "TOKEN='it'\\''s'\n" in text


@given(
    lines=st.lists(st.sampled_from(["plain", "@mark end swap ok", "text@mark begin x", "", "@mar no", "ü\t"])),
    cuts=st.lists(st.integers(0, 200)),
)
def test_the_stream_may_be_cut_anywhere(lines: list[str], cuts: list[int]) -> None:
    data = "".join(line + "\n" for line in lines).encode()
    whole, pieces = Parser("@mark"), Parser("@mark")
    expected = [*whole.feed(data), *whole.end()]
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = [item for a, b in itertools.pairwise(bounds) for item in pieces.feed(data[a:b])]
    assert [*found, *pieces.end()] == expected
    assert pieces.offset == whole.offset == len(data)


def test_only_the_marker_of_this_run_makes_a_report() -> None:
    parser = Parser("@kb-1234")
    assert list(parser.feed(b"@kb-9999 end swap ok\nx@kb-1234 end swap ok\n")) == [
        Output("@kb-9999 end swap ok"),
        Output("x"),
        Report("end", ("swap", "ok")),
    ]


def test_a_line_that_never_ends_is_bounded() -> None:
    parser = Parser("@mark")
    assert [item for _ in range(40) for item in parser.feed(b"x" * 10000)] == []
    assert parser.received == 400_000
    assert list(parser.end()) == [Output("x" * MAX_LINE)]


@given(st.binary(max_size=300))
def test_any_bytes_are_output_or_reports(data: bytes) -> None:
    parser = Parser("@mark")
    for item in [*parser.feed(data), *parser.end()]:
        assert isinstance(item, (Output, Report))


@given(_TEXT)
def test_values_come_back_as_they_were(text: str) -> None:
    import base64

    assert decode_value(base64.b64encode(text.encode()).decode()) == text


@pytest.mark.parametrize("text", ["not base64!", "YQ=", "/w==", "A" * (2 * 1024 * 1024)])
def test_bad_values_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.compile("base64|UTF-8|utf-8|1 MiB")):
        decode_value(text)


@pytest.mark.parametrize("cut", range(len(b"@mark end swap ok\n")))
def test_a_report_after_a_long_line_is_seen_wherever_the_stream_is_cut(cut: int) -> None:
    parser = Parser("@mark")
    data = b"x" * (MAX_LINE + 5) + b"@mark end swap ok\n"
    at = MAX_LINE + 5 + cut
    assert Report("end", ("swap", "ok")) in [*parser.feed(data[:at]), *parser.feed(data[at:])]


@pytest.mark.parametrize("piece", [1000, 70_000, 300_000])
def test_of_a_long_line_the_beginning_is_kept_once(piece: int) -> None:
    data = b"a" * 299_999 + b"\nnext\n"
    parser = Parser("@mark")
    items = [item for start in range(0, len(data), piece) for item in parser.feed(data[start : start + piece])]
    assert items == [Output("a" * MAX_LINE), Output("next")]
    assert parser.offset == len(data)
