"""Builds and caches the parts of the container lab: binaries, images, package repositories.

Every artifact has a recipe: a text with everything that decides its content. The recipe's hash is the cache key, so a
changed recipe rebuilds only what depends on it. An artifact appears by one rename, so an interrupted build leaves no
partial artifact. ``KBOOTSTRAP_LAB_CACHE`` names a cache folder that is read first and, when writable, written to.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from kbootstrap_lab.backend import Say
from kbootstrap_lab.containers import distributions
from kbootstrap_lab.containers.machine import start_docker
from kbootstrap_lab.errors import LabError

FILES = Path(__file__).parent / "files"
KUBERNETES = "1.20.2"
RESTAMPED = "1.20.3"
"""The second version is the first one's code with another version text, for upgrade tests."""
SUITE, OLD_SUITE = distributions.DEFAULT_SUITE, "bullseye"
CONTAINERD = {"1.7.24": "trixie", "2.1.9": "sid"}
"""Versions of containerd besides the builder's own, and the suite of Debian that each comes from."""
DEBIAN, KEYRING = "http://deb.debian.org/debian", "/usr/share/keyrings/debian-archive-keyring.gpg"
REGISTRY = "registry.k8s.io"
FLANNEL_REGISTRY = "ghcr.io/flannel-io"

NODE_PACKAGES = (
    "systemd systemd-sysv dbus libpam-systemd openssh-server sudo ca-certificates curl gnupg dnf rpm firewalld chrony"
    " selinux-utils iproute2 iptables nftables kmod procps conntrack socat ethtool ebtables e2fsprogs util-linux less"
    " iputils-ping passwd login hostname python3 bash-completion"
).split()
BUILDER_PACKAGES = (
    "rpm createrepo-c apt-utils dpkg-dev gnupg gcc libc6-dev containerd runc etcd-server etcd-client"
    " containernetworking-plugins chrony conntrack socat"
).split()
IMAGE_PACKAGES = [
    "dash",
    "busybox",
    "coreutils",
    "python3-minimal",
    "libpython3-stdlib",
    "iproute2",
    "iptables",
    "conntrack",
    "kmod",
]
DEB_PACKAGES = ["chrony", "conntrack", "socat"]
BUILD_PACKAGES = ["golang-1.15-go", "make", "rsync", "jq", "dpkg-dev", "ca-certificates"]
PACKAGE_FILES = (
    "build-packages crictl-stand-in kubelet.service 10-kubeadm.conf containerd.service chronyd.service"
).split()
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")


def caches() -> list[Path]:
    """The cache folders, in order of preference."""
    named = os.environ.get("KBOOTSTRAP_LAB_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kbootstrap" / "lab"
    return ([Path(named)] if named else []) + [home]


def cache() -> Path:
    """The first writable cache folder. For root this checks the mode too: root could write to any folder."""
    for folder in caches():
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK) and folder.stat().st_mode & stat.S_IWUSR:
                return folder
    raise LabError(
        f"no cache folder is writable: {', '.join(map(str, caches()))}",
        "Set KBOOTSTRAP_LAB_CACHE to a writable folder.",
    )


def hashed(*parts: str | Path) -> str:
    """Twelve hex digits that change when any text, file or folder does."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if file.is_file():
                    digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        else:
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """Lock an artifact, so that only one process builds it at a time."""
    with (cache() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def folder(name: str, recipe: str, build: Callable[[Path], None], say: Say) -> Path:
    """The artifact ``name``, built by ``build`` into an empty folder unless it is there already."""
    target = cache() / f"{name}-{recipe}"
    with only_one(name):
        if target.is_dir():
            return target
        say(f"building {name}")
        half = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache()))
        try:
            build(half)
            half.chmod(0o755)
            half.rename(target)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
    return target


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program of this machine. Raises LabError with the end of its output."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}, cwd=cwd
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise LabError(f"{' '.join(words[:4])} ... failed with status {done.returncode}:\n{tail}")
    return done.stdout


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def kubernetes(say: Say) -> Path:
    """A folder with VERSION/{kubeadm,...} for both versions."""
    archive = _kubernetes_archive(say)
    return folder(
        "kubernetes", hashed(archive.name, str(archive.stat().st_size), RESTAMPED), lambda f: _unpack(archive, f), say
    )


def _kubernetes_archive(say: Say) -> Path:
    name = f"kubernetes-{KUBERNETES}-linux-amd64.tar.xz"
    for place in caches():
        if (place / name).is_file():
            _verify(place, name)
            return place / name
    say(f"building Kubernetes {KUBERNETES} from Debian's source package (10 to 15 minutes, once)")
    target = cache() / name
    with only_one("kubernetes-source"):
        if not target.exists():
            _build_kubernetes(target)
    return target


def _verify(place: Path, name: str) -> None:
    sums = place / "SHA256SUMS"
    if not sums.is_file():
        return
    lines = (line.split(None, 1) for line in sums.read_text().splitlines() if line.strip())
    wanted = {name.strip(): digest for digest, name in lines}
    digest = hashlib.sha256((place / name).read_bytes()).hexdigest()
    if wanted.get(name, digest) != digest:
        raise LabError(
            f"{place / name} does not have the checksum in {sums}", "Remove it and let the lab build it again."
        )


def _build_kubernetes(target: Path) -> None:
    """Build Debian's source package with the Go of the release it was made for. A newer Go breaks its reflection."""
    script = FILES / "build-kubernetes"
    with tempfile.TemporaryDirectory(prefix="kbootstrap-lab-", dir=cache()) as work:
        root = Path(work) / "root"
        run(
            "mmdebstrap", "--variant=minbase", f"--include={','.join(BUILD_PACKAGES)}",
            "--customize-hook=copy-in " + str(script) + " /usr/local/bin",
            f"--customize-hook=chroot \"$1\" /usr/local/bin/build-kubernetes {KUBERNETES} {SUITE}",
            f"--customize-hook=copy-out /kubernetes.tar.xz {work}",
            "--format=null", OLD_SUITE, root,
        )  # fmt: skip
        (Path(work) / "kubernetes.tar.xz").rename(target)


def _unpack(archive: Path, target: Path) -> None:
    first, second = target / KUBERNETES, target / RESTAMPED
    with tarfile.open(archive) as tar:
        tar.extractall(first, filter="data")
    second.mkdir()
    for binary in first.iterdir():
        data = binary.read_bytes()
        (second / binary.name).write_bytes(data.replace(f"v{KUBERNETES}".encode(), f"v{RESTAMPED}".encode()))
        (second / binary.name).chmod(0o755)


# --- Docker images ---------------------------------------------------------------------------------------------------


def root_image(
    name: str, suite: str, packages: Iterable[str], say: Say, *, variant: str = "minbase", debs: Iterable[str] = ()
) -> str:
    """A Docker image of a Debian root with these packages; ``debs`` are kept as files in /debs."""
    packages, debs = list(packages), list(debs)
    tag = f"kbootstrap-lab/{name}:{hashed(suite, variant, *packages, '/', *debs)}"
    with only_one(f"image-{name}"):
        if _has_image(tag):
            return tag
        say(f"building the root of {name}")
        hooks = []
        if debs:
            fetch = f"mkdir /debs; cd /debs; apt-get -qq download {' '.join(debs)}"
            hooks = ["--skip=cleanup/apt", f"--customize-hook=chroot \"$1\" sh -c '{fetch}'"]
        with tempfile.TemporaryDirectory(prefix="kbootstrap-lab-", dir=cache()) as work:
            tar = Path(work) / "root.tar"
            include = f"--include={','.join(packages)}"
            run("mmdebstrap", f"--variant={variant}", include, *hooks, suite, tar)
            run("docker", "import", tar, tag)
    return tag


def _has_image(tag: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode == 0


def plain_image(say: Say, suite: str = SUITE) -> str:
    """The unchanged base image of the hosts. The package server runs on it."""
    return root_image("node-root", suite, NODE_PACKAGES, say)


def node_image(distribution: str, say: Say) -> str:
    """The image of a host of a distribution. Raises LabError for one that container hosts cannot look like."""
    found = distributions.known(distribution)
    root = plain_image(say, found.suite)
    names = ("node-entrypoint", "node-setup", "node.Dockerfile")
    with tempfile.TemporaryDirectory(prefix="kbootstrap-lab-", dir=cache()) as work:
        context = Path(work)
        found.write_files(context)
        for name in names:
            shutil.copy(FILES / name, context)
        tag = f"kbootstrap-lab/{distribution}:{hashed(root, found.family, found.release, context)}"
        with only_one(f"image-{distribution}"):
            if not _has_image(tag):
                say(f"building the image of {distribution}")
                run(
                    "docker", "build", "--quiet", "--tag", tag, "--file", context / "node.Dockerfile",
                    "--build-arg", f"ROOT={root}", "--build-arg", f"FAMILY={found.family}",
                    "--build-arg", f"RELEASE={found.release}", context,
                    env={"DOCKER_BUILDKIT": "0"},
                )  # fmt: skip
    return tag


def image_from(image: str, say: Say) -> str:
    """A host image made from a user's image, which Docker pulls when it is missing. Raises LabError."""
    names = ("node-entrypoint", "image-setup", "image.Dockerfile")
    tag = f"kbootstrap-lab/image:{hashed(image, *(FILES / name for name in names))}"
    with only_one("image-image"):
        if not _has_image(tag):
            say(f"building a host image from {image}")
            run(
                "docker", "build", "--quiet", "--tag", tag, "--file", FILES / "image.Dockerfile",
                "--build-arg", f"IMAGE={image}", FILES,
                env={"DOCKER_BUILDKIT": "0"},
            )  # fmt: skip
    return tag


def builder_image(say: Say) -> str:
    return root_image("builder", SUITE, BUILDER_PACKAGES, say, debs=DEB_PACKAGES)


# --- the package server's files --------------------------------------------------------------------------------------


def signing_key(say: Say) -> Path:
    """A GPG key of the lab's own: private.asc, public.asc, fingerprint."""
    return folder("gpg", hashed("1"), lambda target: _make_key(target, builder_image(say)), say)


def _make_key(target: Path, builder: str) -> None:
    script = (
        "set -e; export GNUPGHOME=$(mktemp -d); "
        "gpg --batch --quiet --passphrase '' --quick-generate-key 'kbootstrap lab' rsa3072 sign never; "
        "gpg --batch --armor --export-secret-keys >/out/private.asc; gpg --armor --export >/out/public.asc; "
        "gpg --list-keys --with-colons | awk -F: '$1 == \"fpr\" { print $10; exit }' >/out/fingerprint"
    )
    run("docker", "run", "--rm", "--network", "none", "--volume", f"{target}:/out", builder, "sh", "-c", script)


def containerd(version: str, suite: str, say: Say) -> Path:
    """The programs of Debian's package containerd in this version. An empty folder where the suite has moved on."""
    return folder(
        "containerd", hashed(version, suite), lambda target: _fetch_containerd(target, version, suite, say), say
    )


def _fetch_containerd(target: Path, version: str, suite: str, say: Say) -> None:
    """apt with folders of its own: one package is fetched, and no root is made for it."""
    with tempfile.TemporaryDirectory(prefix="kbootstrap-lab-", dir=cache()) as work:
        place = Path(work)
        for name in ("parts", "state/lists/partial", "cache/archives/partial"):
            (place / name).mkdir(parents=True)
        source = f"deb [signed-by={KEYRING}] {DEBIAN} {suite} main\n"
        (place / "sources.list").write_text(source, encoding="ascii")
        # Sid's index is valid for a week only, and a mirror may be older.
        settings = {
            "Dir::Etc::sourcelist": place / "sources.list", "Dir::Etc::sourceparts": place / "parts",
            "Dir::Etc::preferencesparts": place / "parts", "Dir::Etc::preferences": place / "none",
            "Dir::State": place / "state", "Dir::State::status": "/dev/null", "Dir::Cache": place / "cache",
            "APT::Architecture": "amd64", "APT::Sandbox::User": "root", "Acquire::Check-Valid-Until": "false",
        }  # fmt: skip
        apt = ["apt-get", "--quiet", *(f"--option={name}={value}" for name, value in settings.items())]
        run(*apt, "--error-on=any", "update")
        try:
            run(*apt, "download", f"containerd={version}*", cwd=place)
        except LabError as error:
            if "was not found" not in error.message:
                raise
            say(f"Debian {suite} has no containerd {version} any more: the lab goes without it")
            return
        (deb,) = place.glob("containerd_*.deb")
        run("dpkg-deb", "--extract", deb, target)


def server_root(say: Say) -> Path:
    """Everything the package server serves: repositories laid out as upstream's, one archive per container image."""
    binaries, key, builder = kubernetes(say), signing_key(say), builder_image(say)
    runtimes = {version: containerd(version, suite, say) for version, suite in CONTAINERD.items()}
    packages = folder(
        "packages",
        hashed(
            binaries.name, key.name, builder, *(path.name for path in runtimes.values()),
            *(FILES / name for name in PACKAGE_FILES),
        ),
        lambda target: _build_packages(target, binaries, runtimes, key, builder),
        say,
    )  # fmt: skip
    images = container_images(binaries, builder, say)
    return folder("server", hashed(packages.name, images.name), lambda target: _join(target, packages, images), say)


def containerd_versions(served: Path) -> list[str]:
    """The versions of containerd.io that a package server has, the oldest first."""
    packages = (served / "linux" / "debian" / "pool").glob("containerd.io_*.deb")
    versions = [path.name.split("_")[1].partition("-")[0] for path in packages]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def _build_packages(target: Path, binaries: Path, runtimes: Mapping[str, Path], key: Path, builder: str) -> None:
    with tempfile.TemporaryDirectory(prefix="kbootstrap-lab-", dir=cache()) as work:
        inputs = Path(work)
        for name in PACKAGE_FILES:
            shutil.copy(FILES / name, inputs)
        shutil.copytree(key, inputs / "gpg")
        for version in (KUBERNETES, RESTAMPED):
            shutil.copytree(binaries / version, inputs / version, copy_function=os.link)
        for version, programs in runtimes.items():
            if any(programs.iterdir()):
                shutil.copytree(programs, inputs / "containerd" / version, copy_function=os.link)
        run(
            "docker", "run", "--rm", "--network", "none", "--volume", f"{inputs}:/in:ro", "--volume", f"{target}:/out",
            builder, "/in/build-packages", KUBERNETES, RESTAMPED,
        )  # fmt: skip


def image_names() -> dict[str, str]:
    """Full image names by build stage, as kubeadm 1.20 and our Flannel manifest request them."""
    from kbootstrap.versions import FLANNEL_CNI_PLUGIN, FLANNEL_VERSION

    named = {
        "pause": f"{REGISTRY}/pause:3.2",
        "etcd": f"{REGISTRY}/etcd:3.4.13-0",
        "coredns": f"{REGISTRY}/coredns:1.7.0",
        "flannel": f"{FLANNEL_REGISTRY}/flannel:{FLANNEL_VERSION}",
        "flannel-cni-plugin": f"{FLANNEL_REGISTRY}/flannel-cni-plugin:{FLANNEL_CNI_PLUGIN}",
        "probe": f"{REGISTRY}/lab-probe:1",
    }
    return named


def container_images(binaries: Path, builder: str, say: Say) -> Path:
    """One docker archive per image, named NAME_TAG.tar, as the crictl stand-in requests them."""
    base = root_image("image-base", SUITE, IMAGE_PACKAGES, say, variant="extract")
    recipe = hashed(base, binaries.name, builder, str(sorted(image_names().items())), FILES / "images.Dockerfile",
                    FILES / "pause.c", FILES / "flanneld-stand-in", FILES / "coredns-stand-in")  # fmt: skip
    return folder("images", recipe, lambda target: _build_images(target, base, binaries, builder), say)


def _build_images(target: Path, base: str, binaries: Path, builder: str) -> None:
    with tempfile.TemporaryDirectory(prefix="kbootstrap-lab-", dir=cache()) as work:
        context = Path(work)
        for name in ("images.Dockerfile", "pause.c", "flanneld-stand-in", "coredns-stand-in"):
            shutil.copy(FILES / name, context)
        compile_pause = (
            "gcc -static -O2 -o /w/pause /w/pause.c && strip /w/pause && cp /usr/bin/etcd /usr/bin/etcdctl /w"
        )
        run(
            "docker",
            "run",
            "--rm",
            "--network",
            "none",
            "--volume",
            f"{context}:/w",
            builder,
            "sh",
            "-c",
            compile_pause,
        )
        _flannel_plugin(context)
        for version in (KUBERNETES, RESTAMPED):
            for name in CONTROL_PLANE:
                (context / name).unlink(missing_ok=True)
                os.link(binaries / version / name, context / name)
            for name in CONTROL_PLANE:
                _build_image(target, context, base, name, f"{REGISTRY}/{name}:v{version}")
        for stage, name in image_names().items():
            _build_image(target, context, base, stage, name)


def _flannel_plugin(context: Path) -> None:
    """Get the flannel CNI plugin. Debian 11 was the last release whose containernetworking-plugins has it."""
    tar = context / "plugins.tar"
    run("mmdebstrap", "--variant=extract", "--include=containernetworking-plugins", OLD_SUITE, tar)
    with tarfile.open(tar) as plugins, (context / "flannel").open("wb") as target:
        member = plugins.extractfile("./usr/lib/cni/flannel")
        if member is None:
            raise LabError("Debian 11's containernetworking-plugins has no flannel")
        shutil.copyfileobj(member, target)
    (context / "flannel").chmod(0o755)
    tar.unlink()


def _build_image(target: Path, context: Path, base: str, stage: str, name: str) -> None:
    run(
        "docker", "build", "--quiet", "--tag", name, "--target", stage, "--build-arg", f"BASE={base}",
        "--file", context / "images.Dockerfile", context,
        env={"DOCKER_BUILDKIT": "0"},
    )  # fmt: skip
    run("docker", "save", "--output", target / (name.rpartition("/")[2].replace(":", "_") + ".tar"), name)
    run("docker", "image", "rm", "--no-prune", name)


def _join(target: Path, packages: Path, images: Path) -> None:
    shutil.copytree(packages, target, dirs_exist_ok=True, copy_function=os.link)
    shutil.copytree(images, target / "images", copy_function=os.link)


def prepare(distributions: Iterable[str], say: Say, image: str | None = None) -> tuple[dict[str, str], Path]:
    """Everything a lab of these distributions needs: the image per distribution, and the server's files.

    The distribution ``image`` means hosts made from the user's ``image``.
    """
    start_docker(say)
    images = {
        distribution: image_from(image, say) if image else node_image(distribution, say)
        for distribution in sorted(set(distributions))
    }
    return images, server_root(say)
