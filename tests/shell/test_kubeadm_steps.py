"""The steps around kubeadm, in dash and in bash, with stand-ins for the commands they call."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from support.shell import SHELLS, sh

from kbootstrap.remote.script import quote, shell_file

pytestmark = pytest.mark.parametrize("shell", SHELLS)

RUNTIME = """
systemctl() { :; }
crictl() {
    case $1 in
        images) printf 'IMAGE TAG\\n'; cat pulled 2>/dev/null || : ;;
        pull) echo "${2%:*} ${2##*:}" >>pulled ;;
    esac
}
"""


def run(shell: str, folder: Path, script: str, params: dict[str, str], commands: str, mode: str = "apply") -> list[str]:
    """What a step says and reports, in a folder of its own."""
    given = "".join(f"{name}={quote(value)}\n" for name, value in params.items())
    text = f"cd {folder}\n{given}{commands}\n{shell_file('phases/' + script)}"
    return sh(shell, f"{text}\nkb_load() {{ :; }}\nkb_step s 0 0\n", mode=mode, folder=folder)


def test_images_are_those_of_the_documents(shell: str, tmp_path: Path) -> None:
    """A pinned tag is pulled, and not the one of kubeadm's own table. The check writes no file for it."""
    kubeadm = (
        "kubeadm() { [ \"$*\" = 'config images list --config /dev/stdin' ] || return 9; sed -n 's/^image //p'; }\n"
    )
    params = {"CONFIG": "image r/etcd:3.5.26-0\nimage r/kube-proxy:v1", "VERSION": "1.34.1", "EXTRA": "f/flannel:v1"}
    planned = run(shell, tmp_path, "images/images.sh", {**params, "ROLE": "control-plane"}, RUNTIME + kubeadm, "plan")
    assert [line for line in planned if line.startswith("+ ")] == [
        "+ r/etcd:3.5.26-0",
        "+ r/kube-proxy:v1",
        "+ f/flannel:v1",
    ]
    assert list(tmp_path.iterdir()) == []
    said = run(shell, tmp_path, "images/images.sh", {**params, "ROLE": "worker"}, RUNTIME + kubeadm)
    assert "@m end s changed" in said
    assert (tmp_path / "pulled").read_text() == "r/kube-proxy v1\nf/flannel v1\n"


def test_documents_that_kubeadm_refuses_fail_before_init(shell: str, tmp_path: Path) -> None:
    kubeadm = "kubeadm() { echo 'unknown field \"frob\"'; return 1; }\n"
    params = {"CONFIG": "x", "VERSION": "1.34.1", "EXTRA": "", "ROLE": "worker"}
    said = run(shell, tmp_path, "images/images.sh", params, RUNTIME + kubeadm)
    assert "@m end s failed 64" in said
    assert any("kubeadm cannot list its images" in line and "frob" in line for line in said)


def test_certificates_are_uploaded_with_the_clusters_own_settings(shell: str, tmp_path: Path) -> None:
    """The file of kubeadm init may be old, or on another host."""
    commands = """
wait_for_api() { :; }
admin() { [ "$1 $2 $3 $4 $5" = "-n kube-system get configmap kubeadm-config" ] && echo 'kind: ClusterConfiguration'; }
kubeadm() { cat "$6" >seen; echo '[upload-certs] Using certificate key:'; echo KEY; }
"""
    said = run(shell, tmp_path, "join_token/certificates.sh", {"CONFIG": "kind: InitConfiguration"}, commands)
    assert f"@m value certificate_key {b64encode(b'KEY').decode()}" in said
    assert (tmp_path / "seen").read_text() == "kind: InitConfiguration\n---\nkind: ClusterConfiguration\n"
    assert not (tmp_path / "state").exists()


def test_an_init_that_fails_says_where_to_look(shell: str, tmp_path: Path) -> None:
    """The end of kubeadm's output often says only that the kubelet is not healthy."""
    commands = f"""
kubeadm() {{ echo '[kubelet-check] The kubelet is not healthy after 4m0s'; return 3; }}
have() {{ [ "$1" = kubeadm ]; }}
chmod() {{ :; }}
to_disk() {{ :; }}
mkdir -p {tmp_path}/state
"""
    params = {"NODE_NAME": "cp1", "CONFIG": "x", "SHOWN": "1.34.1", "SKIP_PHASES": "", "CRI_SOCKET": "s"}
    said = run(shell, tmp_path, "init/init.sh", params, commands)
    assert "@m end s failed 3" in said
    (hint,) = [line for line in said if line.startswith("@m hint")]
    assert "journalctl -u kubelet" in hint
    assert f"{tmp_path}/state/init.log" in hint
    assert "not healthy" in (tmp_path / "state/init.log").read_text()
