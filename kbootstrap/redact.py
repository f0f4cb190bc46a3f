"""Removes secrets and terminal escapes from all text that is shown or written."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator

from kbootstrap.secret import Secret
from kbootstrap.text import printable

MASK = "***"
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_KEY_DIGITS = 64
_CERTIFICATE_KEY = re.compile(rf"(certificate[-_ ]?key\W+)[0-9a-f]{{{_KEY_DIGITS}}}\b", re.IGNORECASE)
_BARE_CERTIFICATE_KEY = re.compile(rf"^(\s*)[0-9a-f]{{{_KEY_DIGITS}}}(\s*)$", re.MULTILINE)
"""kubeadm prints the key on a line of its own."""
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)", re.DOTALL)
_PEM_EDGE = re.compile(r"-----(BEGIN|END) [A-Z ]*PRIVATE KEY-----")
_KUBECONFIG_KEY = re.compile(r"(client-key-data|token)(\"?:)\s*\S+")
_CREDENTIALS = (
    # JSON web tokens; then the base64 of a PEM file.
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), MASK),
    (re.compile(r"\bLS0tLS1CRUdJT[A-Za-z0-9+/=]+"), MASK),
    (re.compile(r"(\b(?:bearer|basic)\s+)[\w+/.~=-]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\w://[^\s/:@]*:)[^\s/@]+@"), rf"\1{MASK}@"),
    (
        re.compile(
            r"((?:pass(?:word|wd|phrase)?|secret|token|api[-_]?key|credentials?)[\w-]*[\"']?\s*[:=]\s*)"
            r"(?:\"[^\"]*\"|'[^']*'|[^\s,;\"']+)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(--?[\w-]*(?:password|token|secret)[\w-]*\s+)[^\s-]\S*", re.IGNORECASE), rf"\1{MASK}"),
    # The lines of a key without its first line. What is hexadecimal is the id of an image or a container.
    (re.compile(r"(?<![\w+/])(?=[a-z0-9+/]*[A-Z])(?=[A-Z0-9+/]*[a-z])[A-Za-z0-9+/]{60,}={0,2}"), MASK),
)
"""What looks like a credential in a log that is not kbootstrap's. Each pattern also masks some words that are none."""
_SHORTEST_FRAGMENT = 6
"""Shorter parts of a secret's base64 are not masked, because masking them would hide ordinary words."""


class Redactor:
    """Masks known secrets and all text that looks like a join token or a private key.

    A secret is recognised as plain text, quoted for a shell, by Python or in JSON, and in base64, even as a part of the
    encoded text.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._known: list[str] = []
        for secret in secrets:
            self.add(secret)

    def add(self, secret: Secret) -> None:
        """Mask this secret from now on. One-character secrets are not masked: masking them would hide all text."""
        text = secret.reveal()
        if len(text) < 2:
            return
        forms = {form for form in _forms(text) if len(form) > 1}
        forms |= {line for line in text.splitlines() if len(line) > 7}
        self._known = sorted({*self._known, *forms}, key=len, reverse=True)

    def mask(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, MASK)
        # Most texts are short and have no secrets, so try a pattern only if it can match.
        if "." in text:
            text = _TOKEN.sub(MASK, text)
        if len(text) >= _KEY_DIGITS:
            text = _CERTIFICATE_KEY.sub(rf"\1{MASK}", text)
            text = _BARE_CERTIFICATE_KEY.sub(rf"\1{MASK}\2", text)
        if ":" in text:
            text = _KUBECONFIG_KEY.sub(rf"\1\2 {MASK}", text)
        if "-----BEGIN" in text:
            text = _PEM.sub(f"{MASK} (private key)", text)
        return text

    def clean(self, text: str) -> str:
        """The text, safe to show: with secrets masked and without terminal escapes.

        Masking runs twice: removing an escape in front of a secret can remove the secret's first letter, and an escape
        inside a secret hides the secret.
        """
        return self.mask(printable(self.mask(text)))


def mask_credentials(text: str) -> str:
    """The text without what looks like a credential of anybody: for logs that leave the operator's machine."""
    for pattern, instead in _CREDENTIALS:
        text = pattern.sub(instead, text)
    return text


def _forms(text: str) -> Iterator[str]:
    """The forms in which a secret can occur in a text."""
    yield text
    yield printable(text)
    yield text.replace("'", "'\\''")
    yield text.replace("'", "'\"'\"'")
    # As a message quotes what it has read: signs that Python does not print become escapes. Which quotes do depends on
    # the text around.
    yield repr(text)[1:-1]
    yield repr(f'"{text}')[2:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    data = text.encode("utf-8", "surrogateescape")
    yield base64.b64encode(data).decode()
    for before in range(3):
        # Only the characters that do not depend on the text before and after the secret.
        encoded = base64.b64encode(b"\0" * before + data).decode()
        part = encoded[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        if len(part) >= _SHORTEST_FRAGMENT:
            yield part


class PrivateKeys:
    """Hides a private key that is printed line by line, from its first line to its last."""

    def __init__(self) -> None:
        self._inside = False

    def hide(self, line: str) -> str:
        inside = self._inside
        edges = [match[1] for match in _PEM_EDGE.finditer(line)]
        if edges:
            self._inside = edges[-1] == "BEGIN"
        return f"{MASK} (private key)" if inside else line
