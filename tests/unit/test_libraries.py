"""Every step and every library names exactly the shell libraries whose functions it calls."""

from __future__ import annotations

import re
from functools import cache

import pytest

from kbootstrap.phases.catalogue import everything
from kbootstrap.remote.protocol import Answer, ReportWord, Request
from kbootstrap.remote.script import PACKAGE, library_path, required
from kbootstrap.steps import Step

SHELL = PACKAGE / "shell"
FAMILIES = ("el", "debian")
LIBRARIES = sorted([path.stem for path in (SHELL / "lib").glob("*.sh")] + ["os"])
STEPS = {
    step.script: step
    for _phase, steps in everything()
    for step in steps
    if (PACKAGE / "phases" / step.script).is_file()
}

BUILTINS = set(
    """: . [ break case cd command continue do done echo elif else esac eval exec exit export fi for if in kill printf
    read return set shift sh then trap true false umask unset until wait while""".split()
)
PROGRAMS = set(
    """apt-cache apt-get apt-mark awk base64 bash busctl cat chmod chown chronyc cksum cmp comm containerd cp crictl
    ctr curl cut date df diff dirname dnf dpkg dpkg-query find firewall-cmd getent gpg grep head hostnamectl id ip
    ipvsadm iptables-restore iptables-save journalctl kubeadm kubectl ls mkdir mktemp modprobe mountpoint mv
    netfilter-persistent nft readlink restorecon rm rmdir rpm sed setenforce sha256sum sleep sort stat swapoff swapon
    sync sysctl systemctl tail tee timeout tr ufw umount uname wc yum""".split()
)
"""Programs that a host has, or that a step looks for or installs first."""

_DEFINES = re.compile(r"^[ \t]*([a-z][a-z0-9_]*)\(\)", re.M)
_NAME = re.compile(r"[a-z][a-z0-9_-]*")
RUNS = {"run", "run_packages", "kb_listen"}
"""Functions of ours whose first argument is a command."""
_BEFORE_A_COMMAND = {"if", "then", "else", "elif", "while", "until", "do", "!", "{", *RUNS}


def defined(text: str) -> set[str]:
    """The functions a shell file defines."""
    return set(_DEFINES.findall(text))


def commands(text: str) -> set[str]:
    """The functions and programs that a shell file calls: every word where the shell expects a command."""
    found: set[str] = set()
    _commands(re.sub(r"<<'?([A-Z]+)'?\n.*?\n\1\n", "\n", text, flags=re.S), 0, found)
    return found


def _commands(text: str, at: int, found: set[str]) -> int:
    """Collects the commands from ``at`` to the closing parenthesis. Returns the position after it."""
    expects, skipped, cases, pattern = True, 0, 0, False
    while at < len(text):
        char = text[at]
        if char == "#":
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif text.startswith(";;", at):
            at, pattern = at + 2, True
        elif char in "\n;|&":
            at, expects = at + 1, True
        elif text.startswith("()", at):
            at, expects = at + 2, True
        elif char == "(":
            at = _commands(text, at + 1, found)
        elif char == ")" and not pattern:
            return at + 1
        elif char == ")":
            at, expects, pattern = at + 1, True, False
        elif char in " \t<>" or text.startswith("\\\n", at):
            at += 2 if char == "\\" else 1
        else:
            word, at = _word(text, at, found)
            if word == "case" and expects:
                cases, expects = cases + 1, False
            elif word == "in" and cases and not expects:
                pattern = True
            elif word == "esac":
                cases, pattern, expects = cases - 1, False, False
            elif pattern:
                pass
            elif skipped:
                skipped, expects = 0, True
            elif expects and (word in _BEFORE_A_COMMAND or "=" in word.split("$")[0]):
                found.update({word} & RUNS)
            elif expects:
                expects, skipped = False, int(word == "run_judged")
                found.update([word] if _NAME.fullmatch(word) and not text.startswith("()", at) else [])
    return at


def _word(text: str, at: int, found: set[str]) -> tuple[str, int]:
    """Reads one word of the shell. Collects the commands inside ``$(...)``."""
    start, quoted = at, False
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 2
        elif char == "'" and not quoted:
            at = text.index("'", at + 1) + 1
        elif char == '"':
            quoted, at = not quoted, at + 1
        elif text.startswith("$((", at):
            at = text.index("))", at) + 2
        elif text.startswith("$(", at):
            at = _commands(text, at + 2, found)
        elif text.startswith("${", at):
            at = text.index("}", at) + 1
        elif not quoted and char in " \t\n;|&()<>":
            break
        else:
            at += 1
    return text[start:at], at


@cache
def source(path: str) -> str:
    return (PACKAGE / path).read_text()


@cache
def owners(family: str) -> dict[str, str]:
    """The library of every function."""
    return {function: name for name in LIBRARIES for function in defined(source(library_path(name, family)))}


RUNNER = defined(source("shell/runner.sh"))
OF_STEPS = {"troubles", "check", "apply", "kb_load"}
"""Functions that a library or the runner calls and a step defines."""


def used(path: str, family: str) -> set[str]:
    """The libraries whose functions a file calls. A function that nobody defines is an error."""
    text = source(path)
    called = commands(text) - defined(text) - RUNNER - OF_STEPS
    unknown = called - set(owners(family)) - PROGRAMS - BUILTINS
    assert not unknown, f"{path} calls {sorted(unknown)}, which the runner and the libraries do not define"
    return {owners(family)[name] for name in called if name in owners(family)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_names_the_libraries_it_calls(step: Step, family: str) -> None:
    assert step.libraries == tuple(sorted(used(f"phases/{step.script}", family)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_names_the_libraries_it_calls(name: str, family: str) -> None:
    called = used(library_path(name, family), family) - {name}
    if name == "os":  # one line serves both families
        called = used(library_path(name, "el"), "el") | used(library_path(name, "debian"), "debian")
        called -= {name}
    assert required(name, family) == tuple(sorted(called))


def test_no_function_is_defined_twice() -> None:
    for family in FAMILIES:
        names = [name for name in LIBRARIES for name in defined(source(library_path(name, family)))]
        assert sorted(names) == sorted(set(names) - RUNNER)


def test_every_function_is_called_somewhere() -> None:
    paths = [path.relative_to(PACKAGE) for path in (*SHELL.rglob("*.sh"), *(PACKAGE / "phases").rglob("*.sh"))]
    called = {name for path in paths for name in commands(source(str(path)))}
    for family in FAMILIES:
        assert set(owners(family)) - called == set()


def test_the_families_have_the_same_functions() -> None:
    public = [
        {name for name in defined(source(f"shell/os/{family}.sh")) if not name.startswith("kb_")} for family in FAMILIES
    ]
    assert public[0] - {"finish_dpkg"} == public[1] - {"finish_dpkg"}


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('check() { show "$(differences)"; }', {"show", "differences"}),
        ("if ! have x && y=$(a 'b c' | d); then run e f; fi", {"have", "a", "d", "run", "e", "fi"}),
        ("case $(a) in\n  b | c) d ;;\n  *) run_judged 'x' e ;;\nesac\nf", {"a", "d", "run_judged", "e", "f"}),
        ("(a; case b in c) (d) ;; esac) && e", {"a", "d", "e"}),
        ('echo "run this: ${x:-y} $((1 + 2)) $(a)" # no comment', {"echo", "a"}),
        ("cat <<TEXT\nnodes\nTEXT\nx=1 y", {"cat", "y"}),
        ("for x in a b; do c; done", {"for", "c", "done"}),
    ],
)
def test_the_scan_sees_every_call(text: str, calls: set[str]) -> None:
    assert commands(text) == calls


def test_the_words_of_the_protocol_are_those_of_the_shell() -> None:
    text = "\n".join(path.read_text() for path in (*SHELL.rglob("*.sh"), *(PACKAGE / "phases").rglob("*.sh")))
    reports = set(re.findall(r"\bkb_report ([a-z_]+)", text)) | set(re.findall(r"%s (end|begin) %s", text))
    assert reports == set(ReportWord)
    launcher = source("shell/launcher.sh")
    answers = set(re.findall(r'\bkb_say "?([a-z]+)', launcher)) | set(re.findall(r'printf "%s (done) ', launcher))
    assert answers == set(Answer)
    served = set(re.findall(r"^        ([a-z]+)\)$", launcher, re.M)) | set(re.findall(r"= (whole) ", launcher))
    assert served == set(Request)
