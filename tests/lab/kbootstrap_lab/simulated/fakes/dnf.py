"""dnf and yum. The repository files decide which packages can be installed."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import configparser
import fcntl
import fnmatch
import glob
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from kbootstrap_lab.simulated import catalogue, packages
from kbootstrap_lab.simulated.catalogue import Package
from kbootstrap_lab.simulated.fakes import gpg, internet
from kbootstrap_lab.simulated.fakes.common import HOST, Failed, now, reached, run_main, systemctl, unsupported, user

FAMILY = "el"
_FLAGS = {"-y", "--assumeyes", "-q", "--quiet", "--showduplicates", "--nogpgcheck", "-C", "--cacheonly", "--refresh"}
_FLAGS |= {
    "--installed",
    "--available",
    "--allowerasing",
    "--best",
    "--nobest",
    "--skip-broken",
    "-v",
    "--noplugins",
    "--latest-limit=1",
}
_SETTINGS = ("--disableexcludes=", "--disablerepo=", "--enablerepo=", "--setopt=", "--qf=", "--queryformat=")
_PRESET = ("chronyd.service", "firewalld.service", "sshd.service")
"""Units that EL's presets enable when their package is installed."""


class Repo(NamedTuple):
    """One section of a .repo file."""

    id: str
    url: str
    enabled: bool
    gpgcheck: bool
    repo_gpgcheck: bool
    keys: list[str]
    excludes: list[str]


class Request:
    """The command line."""

    def __init__(self) -> None:
        self.verb = ""
        self.names: list[str] = []
        self.flags: set[str] = set()
        self.no_excludes: set[str] = set()
        self.disabled: list[str] = []
        self.enabled: list[str] = []
        self.format = ""
        self.exit_on_lock = False

    @property
    def quiet(self) -> bool:
        return bool(self.flags & {"-q", "--quiet"})


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    if argv == ["--version"]:
        print("3.4.3" if command == "yum" and HOST["DISTRIBUTION"] == "centos7" else "4.14.0")
        return 0
    request = _parse(command, argv)
    verbs = {
        "install": _install,
        "remove": _remove,
        "erase": _remove,
        "list": _list,
        "repoquery": _repoquery,
        "makecache": _makecache,
        "clean": _clean,
        "repolist": _repolist,
        "update": _upgrade,
        "upgrade": _upgrade,
        "check-update": _check_update,
        "info": _info,
    }
    if request.verb == "versionlock":
        return _versionlock(request)
    if request.verb not in verbs:
        unsupported(command, argv)
    return verbs[request.verb](request)


def _parse(command: str, argv: list[str]) -> Request:
    request = Request()
    words = iter(argv)
    for word in words:
        if word in (
            "--disablerepo",
            "--enablerepo",
            "--disableexcludes",
            "--qf",
            "--queryformat",
            "--setopt",
            "-d",
            "-e",
        ):
            word = f"{word}={next(words)}"
        if word.startswith(("-d=", "-e=")):
            continue
        if word in _FLAGS:
            request.flags.add(word)
        elif word.startswith(_SETTINGS):
            _setting(request, word, command, argv)
        elif word.startswith("-"):
            unsupported(command, argv)
        elif not request.verb:
            request.verb = word
        else:
            request.names.append(word)
    return request


def _setting(request: Request, word: str, command: str, argv: list[str]) -> None:
    key, _, value = word.removeprefix("--").partition("=")
    if key == "setopt" and value.startswith(("disable_excludes=", "disableexcludes=")):
        key, value = "disableexcludes", value.partition("=")[2]
    if key == "disableexcludes":
        request.no_excludes.add(value)
    elif key == "disablerepo":
        request.disabled += value.split(",")
    elif key == "enablerepo":
        request.enabled += value.split(",")
    elif key in ("qf", "queryformat"):
        request.format = value
    elif value == "exit_on_lock=1":
        request.exit_on_lock = True
    elif value.partition("=")[0] not in ("install_weak_deps", "tsflags", "timeout", "retries", "skip_if_unavailable"):
        unsupported(command, argv)


# --- repositories ----------------------------------------------------------------------------------------------------


def repos(request: Request) -> list[Repo]:
    """Every repository that is enabled for this command."""
    found = []
    for path in sorted(glob.glob("/etc/yum.repos.d/*.repo")):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read(path)
        found += [_repo(section, dict(parser[section])) for section in parser.sections()]
    for pattern in request.enabled:
        if not any(fnmatch.fnmatch(repo.id, pattern) for repo in found):
            old = HOST["DISTRIBUTION"] == "centos7"
            raise Failed(
                f"Error getting repository data for {pattern}, repository not found"
                if old
                else f"Error: Unknown repo: '{pattern}'"
            )
    return [repo for repo in found if _is_enabled(request, repo)]


def _is_enabled(request: Request, repo: Repo) -> bool:
    enabled = repo.enabled and not any(fnmatch.fnmatch(repo.id, pattern) for pattern in request.disabled)
    return enabled or any(fnmatch.fnmatch(repo.id, pattern) for pattern in request.enabled)


def _repo(section: str, values: dict[str, str]) -> Repo:
    def yes(key: str, default: str) -> bool:
        return values.get(key, default).strip().lower() in ("1", "yes", "true")

    url = values.get("baseurl") or values.get("metalink") or values.get("mirrorlist") or ""
    release = HOST["RELEASEVER"]
    variables = {"basearch": HOST["ARCH"], "releasever": release, "stream": f"{release}-stream", "infra": "stock"}
    for name, value in variables.items():
        url = url.replace(f"${name}", value)
    excludes = (values.get("exclude", "") + " " + values.get("excludepkgs", "")).replace(",", " ").split()
    keys = values.get("gpgkey", "").split()
    return Repo(
        section, url.strip(), yes("enabled", "1"), yes("gpgcheck", "1"), yes("repo_gpgcheck", "0"), keys, excludes
    )


def metadata(repo: Repo) -> internet.Repository:
    """The repository at this address. Raises Failed with dnf's messages when it cannot be used."""
    if not repo.url:
        raise Failed(f"Error: Cannot find a valid baseurl for repo: {repo.id}")
    if "mirrorlist" in repo.url and not internet.known_host(repo.url):
        raise Failed(_no_mirrorlist(repo))
    if not internet.known_host(repo.url):
        host = internet.host_of(repo.url)
        raise Failed(
            f"Errors during downloading metadata for repository '{repo.id}':\n"
            f"  - Curl error (6): Couldn't resolve host name for {repo.url}/repodata/repomd.xml [Could not resolve host: {host}]\n"
            f"Error: Failed to download metadata for repo '{repo.id}': Cannot download repomd.xml: "
            "Cannot download repodata/repomd.xml: All mirrors were tried"
        )
    try:
        internet.check_up(f"{repo.url}/repodata/repomd.xml")
    except Failed as failed:
        raise Failed(f"Error: Failed to download metadata for repo '{repo.id}': {failed.text}") from None
    found = internet.rpm_repository(repo.url, HOST["RELEASE"])
    if found is None:
        raise Failed(
            f"Errors during downloading metadata for repository '{repo.id}':\n"
            f"  - Status code: 404 for {repo.url}/repodata/repomd.xml\n"
            f"Error: Failed to download metadata for repo '{repo.id}': Cannot download repomd.xml: "
            "Cannot download repodata/repomd.xml: All mirrors were tried"
        )
    if repo.repo_gpgcheck and not (found.signed_metadata and _signed_by(repo, found.signer)):
        raise Failed(
            f"Error: Failed to download metadata for repo '{repo.id}': repomd.xml GPG signature verification error: "
            "Bad GPG signature"
        )
    return found


def _no_mirrorlist(repo: Repo) -> str:
    host = internet.host_of(repo.url)
    if HOST["DISTRIBUTION"] == "centos7":
        return (
            f"Could not retrieve mirrorlist {repo.url} error was\n"
            f'14: curl#6 - "Could not resolve host: {host}; Unknown error"\n\n\n'
            " One of the configured repositories failed (Unknown),\n"
            " and yum doesn't have enough cached data to continue.\n\n"
            f"Cannot find a valid baseurl for repo: {repo.id}/{HOST['RELEASEVER']}/{HOST['ARCH']}"
        )
    return (
        f"Errors during downloading metadata for repository '{repo.id}':\n"
        f"  - Curl error (6): Couldn't resolve host name for {repo.url} [Could not resolve host: {host}]\n"
        f"Error: Failed to download metadata for repo '{repo.id}': Cannot prepare internal mirrorlist: "
        f"Curl error (6): Couldn't resolve host name for {repo.url} [Could not resolve host: {host}]"
    )


def _signed_by(repo: Repo, signer: str) -> bool:
    """Whether the repository file names the signer's key."""
    for key in repo.keys:
        try:
            if key.startswith("file://"):
                with open(key.removeprefix("file://"), "rb") as file:
                    data = file.read()
            else:
                data = internet.fetch(key)[1].encode()
            if internet.KEYS[signer] in gpg.fingerprints(data):
                return True
        except (OSError, Failed):
            continue
    return False


def available(request: Request, filtered: bool = True) -> Iterator[tuple[Repo, Package]]:
    """Every package of every enabled repository, without excluded ones unless the options disable excludes."""
    for repo in repos(request):
        source = metadata(repo)
        seen = filtered and not request.no_excludes & {repo.id, "all"}
        for package in (*catalogue.available(HOST["DISTRIBUTION"], source.id), *_modules(source.id)):
            if not (seen and any(fnmatch.fnmatch(package.name, pattern) for pattern in repo.excludes)):
                yield repo, package


def _modules(repo: str) -> Iterator[Package]:
    """The package with the rest of the running kernel's modules."""
    if repo == "os" and HOST["MODULES_IN_PACKAGE"]:
        yield Package("kernel-modules-extra", HOST["KERNEL"].removesuffix("." + HOST["ARCH"]), repo)


def matches(package: Package, spec: str) -> bool:
    """Whether NAME, NAME-VERSION, NAME-VERSION-RELEASE, NAME.ARCH or a pattern matches this package."""
    version = package.version
    upstream = version.rpartition("-")[0]
    forms = [package.name, f"{package.name}-{upstream}", f"{package.name}-{version}"]
    forms += [f"{form}.{HOST['ARCH']}" for form in forms]
    return any(fnmatch.fnmatchcase(form, spec) for form in forms)


# --- verbs -----------------------------------------------------------------------------------------------------------


def _need_root() -> None:
    if user() != "root":
        raise Failed(
            "Error: This command has to be run with superuser privileges (under the root user on most systems)."
        )


def _newest(found: list[tuple[Repo, Package]]) -> tuple[Repo, Package]:
    return max(found, key=lambda pair: catalogue.version_key(pair[1].version))


def _pick(request: Request, everything: list[tuple[Repo, Package]]) -> dict[str, tuple[Repo, Package]]:
    picked: dict[str, tuple[Repo, Package]] = {}
    for spec in request.names:
        found = [pair for pair in everything if matches(pair[1], spec)]
        if found:
            repo, package = _newest(found)
            picked[package.name] = (repo, package)
        elif packages.version_of(FAMILY, spec) is None:
            hidden = any(matches(package, spec) for _repo, package in available(request, filtered=False))
            if hidden:
                print(f"All matches were filtered out by exclude filtering for argument: {spec}")
            if HOST["DISTRIBUTION"] == "centos7":
                raise Failed(f"No package {spec} available.\nError: Nothing to do")
            raise Failed(f"Error: Unable to find a match: {spec}")
    return picked


def _with_requirements(
    picked: dict[str, tuple[Repo, Package]], everything: list[tuple[Repo, Package]]
) -> dict[str, tuple[Repo, Package]]:
    todo, wanted = list(picked.values()), dict(picked)
    while todo:
        _repo, package = todo.pop()
        for requirement in package.requires:
            names = catalogue.satisfied_by(requirement)
            if any(name in wanted or packages.version_of(FAMILY, name) for name in names):
                continue
            found = [pair for pair in everything if pair[1].name in names]
            if not found:
                raise Failed(
                    "Error: \n Problem: conflicting requests\n"
                    f"  - nothing provides {requirement} needed by {package.name}-{package.version}.{HOST['ARCH']}"
                )
            pair = _newest(found)
            wanted[pair[1].name] = pair
            todo.append(pair)
    return wanted


def _locked() -> list[str]:
    path = (
        "/etc/dnf/plugins/versionlock.list"
        if HOST["DISTRIBUTION"] != "centos7"
        else "/etc/yum/pluginconf.d/versionlock.list"
    )
    return [line.strip() for line in open(path)] if os.path.exists(path) else []


def _install(request: Request) -> int:
    _need_root()
    if not request.flags & {"-y", "--assumeyes"}:
        raise Failed("Is this ok [y/N]: Operation aborted.")
    with _lock(request):
        everything = list(available(request))
        wanted = _with_requirements(_pick(request, everything), everything)
        todo = {n: pair for n, pair in wanted.items() if packages.version_of(FAMILY, n) != pair[1].version}
        todo = {n: pair for n, pair in todo.items() if not _keeps_installed(request, n)}
        if not todo:
            _say(request, "Dependencies resolved.\nNothing to do.\nComplete!")
            return 0
        for repo, package in todo.values():
            _check_signature(request, repo, package)
        for repo, package in todo.values():
            _put(package)
            _say(request, f"Installed: {package.name}-{package.version}.{HOST['ARCH']} ({repo.id})")
            reached(f"dnf has installed {package.name}")
    _say(request, "Complete!")
    return 0


def _keeps_installed(request: Request, name: str) -> bool:
    """Whether an installed package stays: a bare name keeps it; only a version or upgrade changes it."""
    return name in request.names and packages.version_of(FAMILY, name) is not None and request.verb == "install"


def _check_signature(request: Request, repo: Repo, package: Package) -> None:
    source = internet.rpm_repository(repo.url, HOST["RELEASE"])
    if "--nogpgcheck" in request.flags or not repo.gpgcheck or source is None:
        return
    if not source.signer:
        if not all(os.path.exists(key.removeprefix("file://")) for key in repo.keys):
            raise Failed(f"Error: Failed to retrieve {repo.keys[0]}: file not found")
        return
    if not _signed_by(repo, source.signer):
        raise Failed(
            f"Public key for {package.name}-{package.version}.{HOST['ARCH']}.rpm is not installed\n"
            "Error: GPG check FAILED"
        )


def _put(package: Package) -> None:
    units = packages.install(FAMILY, package.name, package.version, HOST["ARCH"], now())
    for unit in units:
        if unit in _PRESET:
            systemctl("--quiet", "enable", unit)


def _remove(request: Request) -> int:
    _need_root()
    if not request.flags & {"-y", "--assumeyes"}:
        raise Failed("Is this ok [y/N]: Operation aborted.")
    with _lock(request):
        for name in request.names:
            if packages.version_of(FAMILY, name) is None:
                print(f"No match for argument: {name}")
                continue
            for unit in catalogue.content(name, FAMILY).units:
                systemctl("--quiet", "disable", "--now", unit)
            packages.remove(FAMILY, name)
            _say(request, f"Removed: {name}")
    _say(request, "Complete!")
    return 0


class _lock:
    """Take the package manager's lock. A second package manager waits, or fails when exit_on_lock is set."""

    def __init__(self, request: Request) -> None:
        self._exits = request.exit_on_lock

    def __enter__(self) -> None:
        os.makedirs("/run/sim", exist_ok=True)
        self._file = open("/run/sim/dnf.lock", "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            self._wait(self._file.read().strip())
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def _wait(self, holder: str) -> None:
        if self._exits and HOST["DISTRIBUTION"] == "centos7":
            raise Failed(
                f"Existing lock /var/run/yum.pid: another copy is running as pid {holder}.\n"
                "Another app is currently holding the yum lock; exiting as configured by exit_on_lock"
            )
        if self._exits:
            raise Failed(f"metadata already locked by {holder}", 200)
        print(f"Waiting for process with pid {holder} to finish.", flush=True)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def _say(request: Request, text: str) -> None:
    if not request.quiet:
        print(text)


def _row(name: str, version: str, repo: str) -> str:
    return f"{name + '.' + HOST['ARCH']:<40} {version:<30} {repo}"


def _list(request: Request) -> int:
    names = [name for name in request.names if name not in ("installed", "available", "all")]
    installed_only = "--installed" in request.flags or "installed" in request.names
    available_only = "--available" in request.flags or "available" in request.names
    patterns = names or ["*"]
    here = {
        n: f["Version"][0] for n, f in packages.read(FAMILY).items() if any(fnmatch.fnmatch(n, p) for p in patterns)
    }
    rows = []
    if not available_only and here:
        rows += ["Installed Packages", *(_row(n, v, "@System") for n, v in sorted(here.items()))]
    if not installed_only:
        found = [pair for pair in available(request) if any(matches(pair[1], p) for p in patterns)]
        if "--showduplicates" not in request.flags:
            newest = {p.name: (r, p) for r, p in sorted(found, key=lambda x: catalogue.version_key(x[1].version))}
            found = [pair for name, pair in newest.items() if here.get(name) != pair[1].version]
        if found:
            rows += ["Available Packages", *(_row(p.name, p.version, r.id) for r, p in found)]
    if not rows:
        raise Failed("Error: No matching Packages to list")
    print("\n".join(rows))
    return 0


def _repoquery(request: Request) -> int:
    found = [pair for pair in available(request) if any(matches(pair[1], p) for p in request.names or ["*"])]
    if "--latest-limit=1" in request.flags or "--showduplicates" not in request.flags:
        newest = {p.name: (r, p) for r, p in sorted(found, key=lambda x: catalogue.version_key(x[1].version))}
        found = list(newest.values()) if "--latest-limit=1" in request.flags else found
    for repo, package in found:
        upstream, _, release = package.version.rpartition("-")
        values = {
            "name": package.name,
            "version": upstream,
            "release": release,
            "arch": HOST["ARCH"],
            "repoid": repo.id,
        }
        values |= {"evr": package.version, "epoch": "0"}
        text = request.format or "%{name}-%{epoch}:%{version}-%{release}.%{arch}"
        for key, value in values.items():
            text = text.replace(f"%{{{key}}}", value)
        if "%{" in text:
            raise Failed(f"simulated dnf: unsupported: {request.format}", 64)
        print(text.replace("\\n", "\n").rstrip("\n"))
    return 0


def _makecache(request: Request) -> int:
    _need_root()
    for repo in repos(request):
        metadata(repo)
    _say(request, "Metadata cache created.")
    return 0


def _clean(request: Request) -> int:
    if request.names[:1] not in (["all"], ["metadata"], ["expire-cache"], ["packages"], ["dbcache"]):
        raise Failed(f"simulated dnf: unsupported: clean {' '.join(request.names)}", 64)
    _need_root()
    with _lock(request):
        _say(request, "0 files removed")
    return 0


def _repolist(request: Request) -> int:
    listed = [repo for repo in repos(request) if not request.names or repo.id in request.names]
    if listed:
        print("repo id                    repo name")
    for repo in listed:
        print(f"{repo.id:<26} {repo.id}")
    return 0


def _upgrade(request: Request) -> int:
    _need_root()
    everything = list(available(request))
    here = packages.read(FAMILY)
    for name in request.names or sorted(here):
        found = [pair for pair in everything if matches(pair[1], name) and pair[1].name in here]
        if not found:
            continue
        repo, package = _newest(found)
        if catalogue.version_key(package.version) > catalogue.version_key(here[package.name]["Version"][0]):
            _check_signature(request, repo, package)
            _put(package)
            _say(request, f"Upgraded: {package.name}-{package.version}")
    _say(request, "Complete!")
    return 0


def _check_update(request: Request) -> int:
    here, newer = packages.read(FAMILY), {}
    for _repo, package in available(request):
        fields = here.get(package.name)
        if fields and catalogue.version_key(package.version) > catalogue.version_key(fields["Version"][0]):
            newer[package.name] = package.version
    for name, version in newer.items():
        print(_row(name, version, "updates"))
    return 100 if newer else 0


def _info(request: Request) -> int:
    for name in request.names:
        version = packages.version_of(FAMILY, name)
        if version is None:
            raise Failed("Error: No matching Packages to list")
        upstream, _, release = version.rpartition("-")
        print(f"Name         : {name}\nVersion      : {upstream}\nRelease      : {release}")
    return 0


def _versionlock(request: Request) -> int:
    plugin = "yum-plugin-versionlock" if HOST["DISTRIBUTION"] == "centos7" else "python3-dnf-plugin-versionlock"
    if packages.version_of(FAMILY, plugin) is None:
        raise Failed("No such command: versionlock. Please use /usr/bin/dnf --help")
    path = "/etc/dnf/plugins/versionlock.list"
    lines = _locked()
    verb, names = (request.names or ["list"])[0], request.names[1:]
    if verb == "list":
        print("\n".join(lines))
        return 0
    _need_root()
    if verb in ("add", "delete"):
        lines = [line for line in lines if not any(re.match(re.escape(name) + r"-\d", line) for name in names)]
        if verb == "add":
            lines += [f"{name}-0:{packages.version_of(FAMILY, name)}.*" for name in names]
        packages.write(path, "".join(line + "\n" for line in lines))
        return 0
    raise Failed(f"simulated dnf: unsupported: versionlock {verb}", 64)
