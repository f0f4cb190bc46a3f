"""No secret of a run is in any output or journal, wherever a host or an error puts it."""

from __future__ import annotations

import base64
import io
import itertools
import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import inventory
from support.fuzzing import cases

from kbootstrap.events import Event, HostSummary, Notice, RunEnded, RunStarted, StepEnded
from kbootstrap.inventory.models import Inventory
from kbootstrap.phases.outputs import PhaseOutput
from kbootstrap.redact import Redactor
from kbootstrap.remote.script import Parser, build, quote
from kbootstrap.remote.session import Item, LostError
from kbootstrap.run.journal import Journal
from kbootstrap.run.phase_run import PhaseRun
from kbootstrap.run.redaction import clean_event
from kbootstrap.run.scheduler import Update
from kbootstrap.secret import Secret
from kbootstrap.steps import Mode, Step
from kbootstrap.ui import View
from kbootstrap.ui.jsonlines import JsonView
from kbootstrap.ui.lines import LinesView
from kbootstrap.ui.live import LiveView
from kbootstrap.ui.plan import PlanView

MARK = "@kb-0123456789abcdef"
STEP = Step("swap", "Turn swap off", "prepare/swap.sh", why="", retries=1)

# The suffix keeps a secret from being equal to a word of kbootstrap's own messages, which cannot be masked.
SECRETS = (
    st.text(st.characters(exclude_characters="*\n\r\0", exclude_categories=["Cs"]), min_size=6, max_size=24)
    .filter(lambda text: len(set(text)) > 3 and text.strip() == text)
    .map(lambda text: f"{text}Zq")
)


def forms(secret: str, before: str) -> list[str]:
    """The forms in which a host may print a secret."""
    encoded = base64.b64encode(f"{before[:2]}{secret}:more".encode()).decode()
    return [
        secret,
        quote(secret),
        shlex.quote(secret),
        base64.b64encode(secret.encode()).decode(),
        encoded,
        f"\x1b[1m{secret}\x1b[0m",
        f"\x1b{secret}",
        f"{secret[:3]}\x1b[31m{secret[3:]}",
        f"--password={secret}",
        f'{{"password": "{secret}"}}',
    ]


def traces(secret: str) -> list[str]:
    """The texts that no output may have: the secret, and the part of its base64 that is always the same."""
    shown = "".join(char for char in secret if char.isprintable())
    parts = [base64.b64encode(b"\0" * n + secret.encode()).decode()[4:-4] for n in range(3)]
    quoted = [secret.replace("'", "'\\''"), secret.replace("'", "'\"'\"'")]
    return [secret, *quoted, *([shown] if len(shown) > 7 else []), *(part for part in parts if len(part) > 7)]


class Replay:
    """A session whose host sends these bytes, cut anywhere, and is then lost with an error that has the secret."""

    def __init__(self, said: bytes, cuts: list[int], error: str) -> None:
        bounds = sorted({0, len(said), *(cut % (len(said) + 1) for cut in cuts)})
        self._pieces = [said[a:b] for a, b in itertools.pairwise(bounds)]
        self._error = error

    def run_inline(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        parser = Parser(MARK)
        for piece in self._pieces:
            for item in parser.feed(piece):
                on_item(item)
        raise LostError(f"h: {self._error}", self._error)

    def close(self) -> None:
        """Nothing to close."""


def said_with(text: str, mode: Mode) -> bytes:
    """A script's output with the text in every place where a host can put it."""
    lines = [f"{MARK} begin swap", text, f"+ {text} {text}"]
    if mode == "apply":
        lines += [f"{MARK} apply swap", f"{MARK} command {text}", text, f"{MARK} hint {text}", f"{MARK} warning {text}"]
        lines += [f"{MARK} retry swap {text}", f"no newline {text}{MARK} verify swap", text, f"{MARK} hint {text}"]
    lines += [f"{MARK} {text}"]
    return "".join(line + "\n" for line in lines).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    return inventory(tmp_path_factory.mktemp("inventory"))


def everything(made: Inventory, folder: Path, events: list[Event]) -> str:
    """The output of all views and of the journal for these events."""
    streams = [io.StringIO() for _ in range(4)]
    views: list[View] = [
        JsonView(streams[0]),
        LinesView(streams[1], verbose=True),
        PlanView(streams[2], made, verbose=True),
        LiveView(streams[3]),
    ]
    with Journal(str(time.time_ns()), folder) as journal:
        for event in events:
            journal.handle(event)
    for view in views:
        with view:
            for event in events:
                view.handle(event)
    return journal.path.read_text(encoding="utf-8") + "".join(stream.getvalue() for stream in streams)


def run_phase(replay: Replay, mode: Mode, redactor: Redactor) -> tuple[bool, list[Event]]:
    """Whether the phase succeeded, and its events after redaction."""
    events: list[Event] = []

    def post(item: Event | Update) -> None:
        if isinstance(item, Event):
            events.append(clean_event(redactor, item))

    phase = PhaseRun("prepare", "cp1", [STEP], partial(build, family="el"), PhaseOutput, lambda _output: None)
    return phase.work(replay, mode, post), events  # type: ignore[arg-type] # a stand-in for Session


@cases(40, 2_000)
@given(
    secret=SECRETS,
    before=st.text(st.characters(exclude_categories=["C"], exclude_characters="*"), min_size=2, max_size=10),
    form=st.integers(0, 9),
    cuts=st.lists(st.integers(0, 10_000), max_size=10),
    mode=st.sampled_from(["plan", "apply"]),
)
def test_no_secret_in_any_view_or_journal(
    made: Inventory,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    secret: str,
    before: str,
    form: int,
    cuts: list[int],
    mode: Mode,
) -> None:
    redactor = Redactor([Secret(secret)])
    text = f"{before}{forms(secret, before)[form]}"
    ok, events = run_phase(Replay(said_with(text, mode), cuts, text), mode, redactor)
    assert not ok
    events.insert(0, RunStarted(1.0, "run", "up", mode, "test", ("cp1", "w1")))
    (failure,) = [event.failure for event in events if isinstance(event, StepEnded)]
    assert failure is not None
    summary = HostSummary({"failed": 1}, "prepare", "swap", failure)
    events.append(RunEnded(2.0, "failed", 1, 1.0, {"failed": 1}, {"cp1": summary, "w1": HostSummary({})}))
    shown = everything(made, tmp_path_factory.getbasetemp() / "journals", events)
    captured = capsys.readouterr()
    for trace in traces(secret):
        assert trace not in shown + captured.out + captured.err
    # An escape before the mask removes one of its stars.
    assert "**" in shown
    assert mode == "plan" or any(isinstance(event, Notice) for event in events)


PEM = [
    "-----BEGIN EC PRIVATE KEY-----",
    "MHcCAQEEIBx1dqsecret",
    "AwEHoUQDQgAE+more/secret==",
    "-----END EC PRIVATE KEY-----",
]


@pytest.mark.parametrize("mode", ["plan", "apply"])
def test_a_private_key_printed_line_by_line_is_hidden_whole(mode: Mode) -> None:
    lines = [f"{MARK} begin swap", *([f"{MARK} apply swap"] if mode == "apply" else []), "before", *PEM, "after"]
    said = "".join(line + "\n" for line in lines).encode()
    _, events = run_phase(Replay(said, [], "gone"), mode, Redactor())
    text = repr(events)
    assert "before" in text
    assert "after" in text
    for part in ("MHcC", "secret", "AwEH"):
        assert part not in text
    assert "secret" not in Redactor().clean("\n".join(["before", *PEM]))
    assert Redactor().clean("\n".join([*PEM, "after"])).endswith("after")


def test_secrets_that_a_run_creates_are_masked_from_then_on() -> None:
    """kubeadm prints a certificate key alone on its line, and an admin.conf in JSON."""
    key = "0123456789abcdef" * 4
    masked = Redactor().clean(f'Using certificate key:\n{key}\n{{"client-key-data":"TFMwdExTMUNSVWRKVGc9PQ=="}}')
    assert key not in masked
    assert "TFMwd" not in masked
