"""apt-get, apt-cache and apt-mark. The sources list the repositories; ``update`` fetches their package lists."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import fcntl
import fnmatch
import glob
import os
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kbootstrap_lab.simulated import catalogue, packages
from kbootstrap_lab.simulated.catalogue import Package
from kbootstrap_lab.simulated.fakes import gpg, internet
from kbootstrap_lab.simulated.fakes.common import (
    HOST,
    Failed,
    now,
    reached,
    read,
    run_main,
    systemctl,
    unsupported,
    user,
)

FAMILY = "debian"
LISTS = "/var/lib/apt/lists"
HOLD = "/var/lib/sim/hold"
LOCK = "/var/lib/dpkg/lock-frontend"
JOURNAL = "/var/lib/dpkg/updates/0001"
"""This file exists while dpkg works. When it is left behind, dpkg was interrupted."""
_FLAGS = {
    "-y": "y",
    "--yes": "y",
    "--assume-yes": "y",
    "-q": "q",
    "-qq": "qq",
    "--quiet": "q",
    "-s": "s",
    "--simulate": "s",
    "--dry-run": "s",
    "--no-install-recommends": "",
    "--allow-change-held-packages": "held",
    "--allow-downgrades": "down",
    "--only-upgrade": "only",
    "--reinstall": "",
    "--purge": "purge",
    "-f": "",
    "--fix-broken": "",
    "--no-remove": "",
}


class Source(NamedTuple):
    """One entry of apt's sources."""

    url: str
    suite: str
    signed_by: str
    file: str

    @property
    def list_file(self) -> str:
        name = re.sub(r"^[a-z]+://", "", self.url).rstrip("/").replace("/", "_")
        return f"{LISTS}/{name}_{self.suite.replace('/', '')}_Packages"


class Request:
    """The command line."""

    def __init__(self) -> None:
        self.verb = ""
        self.names: list[str] = []
        self.flags: set[str] = set()
        self.options: dict[str, str] = {}


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    if argv == ["--version"]:
        print("apt 2.6.1 (simulated)")
        return 0
    request = _parse(command, argv)
    verbs: dict[str, dict[str, Callable[[Request], int]]] = {
        "apt-get": {
            "update": _update,
            "install": _install,
            "remove": _remove,
            "purge": _remove,
            "autoremove": _nothing,
            "clean": _nothing,
            "autoclean": _nothing,
            "upgrade": _upgrade,
            "dist-upgrade": _upgrade,
        },
        "apt-cache": {"madison": _madison, "policy": _policy, "show": _show},
        "apt-mark": {"hold": _hold, "unhold": _hold, "showhold": _show_hold, "manual": _nothing, "auto": _nothing},
    }
    if request.verb not in verbs[command]:
        unsupported(command, argv)
    return verbs[command][request.verb](request)


def _parse(command: str, argv: list[str]) -> Request:
    request = Request()
    words = iter(argv)
    for word in words:
        if word in ("-o", "--option"):
            key, _, value = next(words).partition("=")
            request.options[key.lower()] = value
        elif word.startswith("-o"):
            key, _, value = word[2:].partition("=")
            request.options[key.lower()] = value
        elif word in _FLAGS:
            request.flags.add(_FLAGS[word])
        elif re.fullmatch(r"-[yqs]+", word):
            request.flags.update(word[1:])
        elif word.startswith("-"):
            unsupported(command, argv)
        elif not request.verb:
            request.verb = word
        else:
            request.names.append(word)
    return request


# --- sources ---------------------------------------------------------------------------------------------------------


def sources(options: dict[str, str]) -> list[Source]:
    """Every entry of apt's sources, or of the sources that the options name."""
    main_file = options.get("dir::etc::sourcelist", "/etc/apt/sources.list")
    parts = options.get("dir::etc::sourceparts", "/etc/apt/sources.list.d")
    files = [main_file if main_file.startswith("/") else f"/etc/apt/{main_file}"]
    if parts not in ("-", "/dev/null"):
        files += sorted(glob.glob(f"{parts}/*.list") + glob.glob(f"{parts}/*.sources"))
    found: list[Source] = []
    for path in files:
        text = read(path)
        found += _deb822(text, path) if path.endswith(".sources") else _one_line(text, path)
    _check_signed_by(found)
    return found


def _check_signed_by(found: list[Source]) -> None:
    keys: dict[tuple[str, str], str] = {}
    for source in found:
        other = keys.setdefault((source.url.rstrip("/"), source.suite), source.signed_by)
        if other != source.signed_by:
            raise Failed(
                f"E: Conflicting values set for option Signed-By regarding source {source.url} {source.suite}: "
                f"{other} != {source.signed_by}\nE: The list of sources could not be read.",
                100,
            )


def _one_line(text: str, path: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)(?:\s+(.*))?\Z", line.partition("#")[0].rstrip())
        if match:
            options = dict(part.split("=", 1) for part in (match[1] or "").split())
            yield Source(match[2], match[3], options.get("signed-by", ""), path)
        elif re.match(r"\s*deb\s", line):
            raise Failed(
                f"E: Malformed entry 1 in list file {path} (Suite)\nE: The list of sources could not be read.", 100
            )


def _deb822(text: str, path: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(\w[\w-]*):\s*(.*)$", stanza, re.MULTILINE))
        if fields.get("Types") == "deb" and fields.get("Enabled", "yes") == "yes":
            for url in fields["URIs"].split():
                for suite in fields["Suites"].split():
                    yield Source(url, suite, fields.get("Signed-By", ""), path)


def _trusted(source: Source, repository: internet.Repository) -> bool:
    if not repository.signer:
        return True
    try:
        with open(source.signed_by, "rb") as file:
            return internet.KEYS[repository.signer] in gpg.fingerprints(file.read())
    except (OSError, Failed):
        return False


def known(request: Request) -> list[tuple[Source, Package]]:
    """Every package of every source whose list was fetched."""
    found = []
    for source in sources(request.options):
        repository = internet.deb_repository(source.url, source.suite, HOST["RELEASE"])
        if repository and os.path.exists(source.list_file):
            found += [(source, package) for package in catalogue.available(HOST["DISTRIBUTION"], repository.id)]
    return found


# --- apt-get ---------------------------------------------------------------------------------------------------------


def _need_root(path: str = LOCK) -> None:
    if user() != "root":
        raise Failed(f"E: Could not open lock file {path} - open (13: Permission denied)", 100)


class _lock:
    """Take dpkg's lock as dpkg does (fcntl). Waits at most DPkg::Lock::Timeout seconds."""

    def __init__(self, request: Request) -> None:
        self._seconds = float(request.options.get("dpkg::lock::timeout", "0"))

    def __enter__(self) -> None:
        os.makedirs("/var/lib/dpkg", exist_ok=True)
        self._file = open(LOCK, "w")
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() >= deadline:
                    raise Failed(
                        f"E: Could not get lock {LOCK}. It is held by process {self._holder()} (unattended-upgr)\n"
                        f"E: Unable to acquire the dpkg frontend lock ({LOCK}), is another process using it?",
                        100,
                    ) from None
                time.sleep(0.1)

    def _holder(self) -> int:
        asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return int(struct.unpack("hhqqi", fcntl.fcntl(self._file, fcntl.F_GETLK, asked))[4])

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def _update(request: Request) -> int:
    _need_root(f"{LISTS}/lock")
    os.makedirs(LISTS, exist_ok=True)
    errors, warnings = [], []
    for number, source in enumerate(sources(request.options), 1):
        if not internet.known_host(source.url):
            warnings.append(
                f"W: Failed to fetch {source.url}/dists/{source.suite}/InRelease  "
                f"Could not resolve '{internet.host_of(source.url)}'"
            )
            continue
        try:
            internet.check_up(source.url)
        except Failed as failed:
            reason = failed.text.rpartition(": ")[2]
            warnings.append(f"W: Failed to fetch {source.url}/dists/{source.suite}/InRelease  {reason}")
            continue
        repository = internet.deb_repository(source.url, source.suite, HOST["RELEASE"])
        if repository is None:
            errors.append(f"E: The repository '{source.url} {source.suite} Release' does not have a Release file.")
        elif not _trusted(source, repository):
            key = internet.KEYS[repository.signer][-16:]
            errors.append(
                f"W: GPG error: {source.url} {source.suite} InRelease: The following signatures couldn't be verified "
                f"because the public key is not available: NO_PUBKEY {key}\n"
                f"E: The repository '{source.url} {source.suite} InRelease' is not signed."
            )
        else:
            packages.write(source.list_file, f"{repository.id}\n")
            _say(request, f"Get:{number} {source.url} {source.suite} InRelease")
    if warnings:
        warnings.append("W: Some index files failed to download. They have been ignored, or old ones used instead.")
    print("\n".join(errors + warnings), file=sys.stderr, end="\n" if errors or warnings else "")
    if errors:
        return 100
    _say(request, "Reading package lists...")
    return 0


def _pick(request: Request, everything: list[tuple[Source, Package]]) -> dict[str, Package]:
    picked: dict[str, Package] = {}
    for spec in request.names:
        name, _, version = spec.partition("=")
        found = [package for _source, package in everything if package.name == name]
        if not found and packages.version_of(FAMILY, name) is None:
            raise Failed(f"E: Unable to locate package {name}", 100)
        if version:
            found = [package for package in found if fnmatch.fnmatchcase(package.version, version)]
            if not found:
                raise Failed(f"E: Version '{version}' for '{name}' was not found", 100)
        if found:
            picked[name] = max(found, key=lambda package: catalogue.version_key(package.version))
    return picked


def _with_requirements(picked: dict[str, Package], everything: list[tuple[Source, Package]]) -> dict[str, Package]:
    wanted, todo = dict(picked), list(picked.values())
    while todo:
        package = todo.pop()
        for requirement in package.requires:
            names = catalogue.satisfied_by(requirement)
            if any(name in wanted or packages.version_of(FAMILY, name) for name in names):
                continue
            found = [candidate for _source, candidate in everything if candidate.name in names]
            if not found:
                raise Failed(
                    "The following packages have unmet dependencies:\n"
                    f" {package.name} : Depends: {requirement} but it is not installable\n"
                    "E: Unable to correct problems, you have held broken packages.",
                    100,
                )
            newest = max(found, key=lambda candidate: catalogue.version_key(candidate.version))
            wanted[newest.name] = newest
            todo.append(newest)
    return wanted


def _install(request: Request) -> int:
    if "s" not in request.flags:
        _need_root()
    everything = known(request)
    wanted = _with_requirements(_pick(request, everything), everything)
    todo = [package for name, package in wanted.items() if packages.version_of(FAMILY, name) != package.version]
    _refuse(request, todo)
    if "s" in request.flags:
        for package in todo:
            print(f"Inst {package.name} ({package.version})")
        return 0
    if len(todo) > len(request.names) and "y" not in request.flags:
        raise Failed("Do you want to continue? [Y/n] Abort.")
    with _lock(request):
        if os.path.exists(JOURNAL):
            raise Failed(
                "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.", 100
            )
        packages.write(JOURNAL, "")
        if any(package.name == "chrony" for package in todo):
            _take_away("systemd-timesyncd")
        for package in todo:
            _put(package)
            _say(request, f"Setting up {package.name} ({package.version}) ...")
            reached(f"apt has installed {package.name}")
        os.unlink(JOURNAL)
    if not todo:
        _say(request, "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.")
    return 0


def _refuse(request: Request, todo: list[Package]) -> None:
    """Refuse what apt does not do with -y alone: change held packages, downgrade."""
    for package in todo:
        here = packages.version_of(FAMILY, package.name)
        if here and os.path.exists(f"{HOLD}/{package.name}") and "held" not in request.flags:
            raise Failed("E: Held packages were changed and -y was used without --allow-change-held-packages.", 100)
        older = here and catalogue.version_key(package.version) < catalogue.version_key(here)
        if older and "down" not in request.flags:
            raise Failed("E: Packages were downgraded and -y was used without --allow-downgrades.", 100)


def _put(package: Package) -> None:
    fresh = packages.version_of(FAMILY, package.name) is None
    units = packages.install(FAMILY, package.name, package.version, HOST["ARCH"], now())
    if fresh and catalogue.content(package.name, FAMILY).enabled:
        for unit in units:
            systemctl("--quiet", "enable", "--now", unit)


def _take_away(name: str) -> None:
    if packages.version_of(FAMILY, name) is None:
        return
    for unit in catalogue.content(name, FAMILY).units:
        systemctl("--quiet", "disable", "--now", unit)
    packages.remove(FAMILY, name)


def _remove(request: Request) -> int:
    _need_root()
    if "y" not in request.flags:
        raise Failed("Do you want to continue? [Y/n] Abort.")
    for name in request.names:
        if packages.version_of(FAMILY, name) is None:
            print(f"Package '{name}' is not installed, so not removed")
            continue
        if os.path.exists(f"{HOLD}/{name}") and "held" not in request.flags:
            raise Failed("E: Held packages were changed and -y was used without --allow-change-held-packages.", 100)
        _take_away(name)
        _say(request, f"Removing {name} ...")
        if request.verb == "purge" or "purge" in request.flags:
            for path in catalogue.content(name, FAMILY).files:
                if os.path.exists(path):
                    os.unlink(path)
        if os.path.exists(f"{HOLD}/{name}"):
            os.unlink(f"{HOLD}/{name}")
    return 0


def _upgrade(request: Request) -> int:
    _need_root()
    here = packages.read(FAMILY)
    newest: dict[str, Package] = {}
    for _source, package in known(request):
        best = newest.get(package.name)
        if best is None or catalogue.version_key(package.version) > catalogue.version_key(best.version):
            newest[package.name] = package
    for name, package in newest.items():
        fields = here.get(name)
        newer = fields and catalogue.version_key(package.version) > catalogue.version_key(fields["Version"][0])
        if newer and not os.path.exists(f"{HOLD}/{name}"):
            _put(package)
            _say(request, f"Setting up {name} ({package.version}) ...")
    return 0


def _nothing(request: Request) -> int:
    _need_root()
    return 0


def _say(request: Request, text: str) -> None:
    if "qq" not in request.flags:
        print(text)


# --- apt-cache, apt-mark ---------------------------------------------------------------------------------------------


def _madison(request: Request) -> int:
    for name in request.names:
        found = [(source, package) for source, package in known(request) if package.name == name]
        for source, package in sorted(found, key=lambda x: catalogue.version_key(x[1].version), reverse=True):
            print(f"{name:>10} | {package.version} | {source.url} {source.suite} {HOST['ARCH']} Packages")
    return 0


def _policy(request: Request) -> int:
    for name in request.names:
        found = [package for _source, package in known(request) if package.name == name]
        here = packages.version_of(FAMILY, name)
        if not found and here is None:
            continue
        versions = sorted({package.version for package in found}, key=catalogue.version_key, reverse=True)
        print(
            f"{name}:\n  Installed: {here or '(none)'}\n  Candidate: {versions[0] if versions else here}\n  Version table:"
        )
        for version in versions:
            print(f" {'***' if version == here else '   '} {version} 500")
    return 0


def _show(request: Request) -> int:
    for name in request.names:
        found = [package for _source, package in known(request) if package.name == name]
        if not found:
            raise Failed("N: Unable to locate package " + name + "\nE: No packages found", 100)
        for package in sorted(found, key=lambda p: catalogue.version_key(p.version), reverse=True):
            print(f"Package: {package.name}\nVersion: {package.version}\nArchitecture: {HOST['ARCH']}\n")
    return 0


def _hold(request: Request) -> int:
    _need_root()
    os.makedirs(HOLD, exist_ok=True)
    for name in request.names:
        path = f"{HOLD}/{name}"
        if packages.version_of(FAMILY, name) is None:
            raise Failed(f"E: Unable to locate package {name}", 100)
        if request.verb == "hold":
            print(f"{name} was already set on hold." if os.path.exists(path) else f"{name} set on hold.")
            open(path, "w").close()
        elif os.path.exists(path):
            os.unlink(path)
            print(f"Canceled hold on {name}.")
    return 0


def _show_hold(_request: Request) -> int:
    names = sorted(os.listdir(HOLD)) if os.path.isdir(HOLD) else []
    print("".join(name + "\n" for name in names), end="")
    return 0
