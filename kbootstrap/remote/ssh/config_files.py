"""The text of an ssh_config and of all files that it includes: what is in it, and a copy of what was read.

``ssh`` reads these files itself. Here they are only split into lines, for three questions: does a line run a program,
does a line matter to us at all, and is there a line that OpenSSH could read in another way than we do.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kbootstrap.errors import ConnectError
from kbootstrap.plain_file import read_plain

MAX_BYTES = 4 * 1024 * 1024
MAX_FILES = 200
MAX_DEPTH = 16
MAX_LINE = 1000
"""Old versions of ssh read a longer line in pieces."""

USER_FOLDER = Path("~/.ssh")
SYSTEM_FOLDER = Path("/etc/ssh")

OF_NO_INTEREST = frozenset(
    "host match include addkeystoagent addressfamily batchmode bindaddress bindinterface canonicaldomains"
    " canonicalizefallbacklocal canonicalizemaxdots canonicalizepermittedcnames casignaturealgorithms checkhostip"
    " ciphers clearallforwardings compression connectionattempts connecttimeout controlmaster controlpath"
    " controlpersist dynamicforward enablesshkeysign escapechar exitonforwardfailure fingerprinthash"
    " forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted gatewayports"
    " gssapiauthentication gssapiclientidentity gssapidelegatecredentials gssapikexalgorithms gssapikeyexchange"
    " gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns hashknownhosts hostbasedauthentication"
    " hostkeyalgorithms ipqos kbdinteractiveauthentication kexalgorithms localforward loglevel macs"
    " numberofpasswordprompts passwordauthentication permitlocalcommand pubkeyacceptedalgorithms"
    " pubkeyacceptedkeytypes pubkeyauthentication rekeylimit remoteforward requesttty requiredrsasize sendenv"
    " serveralivecountmax serveraliveinterval setenv stricthostkeychecking tcpkeepalive updatehostkeys"
    " verifyhostkeydns visualhostkey xauthlocation".split()
)
"""Settings that do not decide how we reach a host. Any other one may, also one that a newer OpenSSH has."""

_SETTING = re.compile(r"([A-Za-z0-9]+)(?:[ \t]*=[ \t]*|[ \t]+)(?=\S)(.*)")
_WORDS = re.compile(r'"([^"]*)"|([^\s"\'\\]+)')


@dataclass(frozen=True)
class Line:
    """One line. ``keyword`` is in lower case; it is empty when the line is blank, a comment, or not readable."""

    text: str
    keyword: str = ""
    value: str = ""
    strange: bool = False
    """OpenSSH may read it in another way than we do."""
    included: tuple[ConfigText, ...] = ()


@dataclass(frozen=True)
class ConfigText:
    """A file and, in its lines, the files that it includes."""

    path: Path
    lines: tuple[Line, ...] = ()

    def all_lines(self) -> Iterator[tuple[Path, int, Line]]:
        """Every line with its file and its number, also those of included files."""
        for number, line in enumerate(self.lines, start=1):
            yield self.path, number, line
            for file in line.included:
                yield from file.all_lines()

    @property
    def matters(self) -> bool:
        """Whether any line may decide how we reach a host."""
        return any(
            line.strange or (line.keyword and line.keyword not in OF_NO_INTEREST) for _, _, line in self.all_lines()
        )

    @property
    def program(self) -> str:
        """The first setting that runs a program on this machine, or an empty text."""
        return next((found for _, _, line in self.all_lines() if (found := _program(line))), "")

    def refuse_programs(self) -> None:
        """Raises ConnectError unless it is certain that neither ssh nor we run a program because of these files."""
        if self.program:
            raise ConnectError(
                f"{self.path} runs a program ({self.program}), and only your own ~/.ssh/config may do that",
                "Copy the entry there, or add --trust-inventory. [ssh-config]",
            )
        strange = next(((path, number) for path, number, line in self.all_lines() if line.strange), None)
        if strange is not None:
            raise ConnectError(
                f"{self.path} cannot be read: {strange[0]}, line {strange[1]} is not KEYWORD VALUE",
                "Correct that file, or set ssh.config: null in the inventory. [ssh-config]",
            )

    def copy(self, folder: Path, originals: list[Path]) -> Path:
        """Write these files into a folder, so that ``ssh`` reads exactly what was checked. Lines keep their numbers.

        The name of a copy is its place in ``originals``.
        """
        lines = []
        for line in self.lines:
            text = line.text
            if line.keyword == "include":
                names = " ".join(f'"{file.copy(folder, originals)}"' for file in line.included)
                text = f"Include {names}" if names else "#"
            lines.append(text)
        path = folder / str(len(originals))
        originals.append(self.path)
        path.write_text("\n".join(lines), encoding="latin-1")
        path.chmod(0o600)
        return path


def read_config(path: Path, *, system: bool = False) -> ConfigText:
    """The file and all that it includes. A missing file is an empty one. Raises ConnectError."""
    try:
        return _Reader(SYSTEM_FOLDER if system else USER_FOLDER.expanduser()).read(path, 0)
    except (OSError, ValueError) as error:
        raise ConnectError(
            f"{path} cannot be read: {error}",
            "Correct that file, or set ssh.config: null in the inventory. [ssh-config]",
        ) from None


class _Reader:
    """``folder`` is where the relative names of Include are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0

    def read(self, path: Path, depth: int) -> ConfigText:
        self._files += 1
        if depth > MAX_DEPTH or self._files > MAX_FILES:
            raise ValueError("it includes too many files")
        try:
            data = read_plain(path, MAX_BYTES, null=True)
        except (FileNotFoundError, NotADirectoryError):
            return ConfigText(path)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}" if depth else str(error.strerror)) from None
        return ConfigText(path, tuple(self._line(text, depth) for text in data.decode("latin-1").split("\n")))

    def _line(self, text: str, depth: int) -> Line:
        bare = text.rstrip(" \t\r\f").lstrip(" \t")
        odd = len(text) > MAX_LINE or any(ord(char) < 32 and char != "\t" for char in bare)
        if not odd and (not bare or bare.startswith("#")):
            return Line(text)
        setting = _SETTING.fullmatch(bare)
        if odd or setting is None:
            return Line(text, strange=True)
        keyword, value = setting[1].lower(), setting[2]
        if keyword != "include":
            return Line(text, keyword, value)
        names = [quoted or plain for quoted, plain in _WORDS.findall(value)]
        if _WORDS.sub("", value).strip() or not all(names) or re.search(r"[%$]", value):
            return Line(text, strange=True)
        return Line(text, keyword, value, included=tuple(self._included(names, depth)))

    def _included(self, names: list[str], depth: int) -> Iterator[ConfigText]:
        for name in names:
            if name.startswith("#"):
                return
            pattern = str(self._folder / Path(name).expanduser())
            for found in sorted(glob.glob(pattern)):
                yield self.read(Path(found), depth + 1)


def _program(line: Line) -> str:
    if line.keyword == "proxycommand" and line.value.lower() != "none":
        return f"ProxyCommand {line.value}"
    if line.keyword == "match" and _has_exec(line.value):
        return f"Match {line.value}"
    return ""


def _has_exec(criteria: str) -> bool:
    """Whether OpenSSH finds the criterion ``exec``. It joins and divides words at quotes, so any trace counts there."""
    plain = re.sub(r"[\"'\\]", "", criteria).lower()
    return "exec" in plain if plain != criteria.lower() else bool(re.search(r"(?<![\w.*?-])exec(?![\w.*?-])", plain))
