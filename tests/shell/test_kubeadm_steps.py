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
mkdir state
admin() { [ "$1 $2 $3 $4 $5" = "-n kube-system get configmap kubeadm-config" ] && echo 'kind: ClusterConfiguration'; }
kubeadm() { cat "$6" >seen; echo '[upload-certs] Using certificate key:'; echo KEY; }
"""
    said = run(shell, tmp_path, "join_token/certificates.sh", {"CONFIG": "kind: InitConfiguration"}, commands)
    assert f"@m value certificate_key {b64encode(b'KEY').decode()}" in said
    assert (tmp_path / "seen").read_text() == "kind: InitConfiguration\n---\nkind: ClusterConfiguration\n"
    assert (tmp_path / "state/certificates").exists(), "the end of this run, or the next run, deletes the secret"


def test_an_init_that_fails_says_where_to_look(shell: str, tmp_path: Path) -> None:
    """The end of kubeadm's output often says only that the kubelet is not healthy."""
    commands = f"""
kubeadm() {{ echo '[kubelet-check] The kubelet is not healthy after 4m0s'; return 3; }}
have() {{ [ "$1" = kubeadm ]; }}
chmod() {{ :; }}
to_disk() {{ :; }}
mkdir -p {tmp_path}/state
"""
    params = {"NODE_NAME": "cp1", "CONFIG": "x", "VERSION": "1.34.1", "SKIP_PHASES": "", "CRI_SOCKET": "s"}
    said = run(shell, tmp_path, "init/init.sh", params, commands)
    assert "@m end s failed 3" in said
    (hint,) = [line for line in said if line.startswith("@m hint")]
    assert "journalctl -u kubelet" in hint
    assert f"{tmp_path}/state/init.log" in hint
    assert "not healthy" in (tmp_path / "state/init.log").read_text()


DELETES = """
is_control_plane() { :; }
wait_for_api() { :; }
kubeadm() {
    case $* in
        'token list'*) cat tokens ;;
        'token delete'*) grep -v "^$3" tokens >left || :; mv left tokens ;;
    esac
}
admin() {
    case $* in
        *' get secret '*) [ ! -e secret ] || echo secret/kubeadm-certs ;;
        *' delete secret '*) rm -f secret ;;
    esac
}
"""
TOKENS = (
    "aaaaaa.0123456789abcdef 29m <date> authentication,signing kbootstrap join system:bootstrappers\n"
    "bbbbbb.0123456789abcdef 1h <date> <none> Proxy for managing TTL for the kubeadm-certs secret <none>\n"
    "cccccc.0123456789abcdef 23h <date> authentication,signing an operator's own system:bootstrappers\n"
)


@pytest.mark.parametrize("ours", [True, False])
def test_certificates_and_their_token_go_at_the_end(shell: str, tmp_path: Path, ours: bool) -> None:
    """Those that a run of ours uploaded, also an interrupted one. An operator's own stay."""
    (tmp_path / "tokens").write_text(TOKENS)
    (tmp_path / "secret").touch()
    (tmp_path / "state").mkdir()
    if ours:
        (tmp_path / "state/certificates").touch()
    params = {"JOINING": "0", "TOKEN_ID": ""}
    said = run(shell, tmp_path, "delete_join_token/delete-join-token.sh", params, DELETES)
    assert "@m end s changed" in said
    left = [line[:6] for line in (tmp_path / "tokens").read_text().splitlines()]
    assert left == (["cccccc"] if ours else ["bbbbbb", "cccccc"])
    assert (tmp_path / "secret").exists() != ours
    assert ("- the control plane certificates in secret/kubeadm-certs" in said) == ours
    assert not (tmp_path / "state/certificates").exists()
    assert "@m end s ok" in run(shell, tmp_path, "delete_join_token/delete-join-token.sh", params, DELETES)
