from __future__ import annotations

import base64
import json

import pytest

from kbootstrap.redact import Redactor
from kbootstrap.secret import Secret
from kbootstrap.text import printable


@pytest.mark.parametrize(
    "text",
    [
        "password is s3cr'et pass!",
        "quoted 's3cr'\\''et pass!'",
        "base64 " + base64.b64encode(b"s3cr'et pass!").decode(),
    ],
)
def test_known_secrets_are_masked_in_every_form(text: str) -> None:
    masked = Redactor([Secret("s3cr'et pass!")]).mask(text)
    assert "***" in masked
    assert "pass!" not in masked
    assert "czNjc" not in masked


@pytest.mark.parametrize("around", ["{}", '"{}', "'{}"])
def test_a_secret_that_a_message_quotes_is_masked(around: str) -> None:
    """Python writes signs that it does not print as escapes, and so does JSON."""
    secret = "\U0001239a0000'12Zq\""
    text = around.format(secret)
    for quoted in (repr(text), json.dumps(text), json.dumps(text, ensure_ascii=False)):
        masked = Redactor([Secret(secret)]).mask(quoted)
        assert "12Zq" not in masked, quoted


@pytest.mark.parametrize(
    "text",
    [
        "kubeadm join 10.0.0.1:6443 --token abcdef.0123456789abcdef",
        "--certificate-key " + "0123456789abcdef" * 4,
        "-----BEGIN RSA PRIVATE KEY----- MIIE",
        "    client-key-data: LS0tLS1CRUdJTg==",
    ],
)
def test_text_that_looks_like_a_secret_is_masked(text: str) -> None:
    masked = Redactor().mask(text)
    assert "***" in masked
    for part in ("0123456789abcdef", "MIIE", "LS0t"):
        assert part not in masked


def test_hashes_of_certificates_are_public() -> None:
    text = "sha256:" + "0123456789abcdef" * 4
    assert Redactor().mask(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("back\x08space\r", "backspace"),
        ("tab\tstays", "tab\tstays"),
        ("\u202eevil", "evil"),
        ("\x9b31mcsi", "31mcsi"),
    ],
)
def test_escapes_never_reach_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
