"""Keeping secrets and terminal escapes out of everything that is shown or written."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from kbootstrap.model import Secret

MASK = "***"
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_KEY_DIGITS = 64
_CERTIFICATE_KEY = re.compile(rf"(certificate[-_ ]?key\W+)[0-9a-f]{{{_KEY_DIGITS}}}\b", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*")
_KUBECONFIG_KEY = re.compile(r"(client-key-data|token):\s*\S+")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text without terminal escapes, control characters and direction overrides; tabs and newlines stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


class Redactor:
    """Masks known secrets (also base64 and shell-quoted) and everything that looks like a join token or private key."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._known: list[str] = []
        for secret in secrets:
            self.add(secret)

    def add(self, secret: Secret) -> None:
        """Mask this secret from now on. One-character secrets are left alone: masking them would hide everything."""
        text = secret.reveal()
        if len(text) < 2:
            return
        forms = {text, base64.b64encode(text.encode()).decode(), text.replace("'", "'\\''")}
        forms |= {line for line in text.splitlines() if len(line) > 7}
        self._known = sorted({*self._known, *forms}, key=len, reverse=True)

    def mask(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, MASK)
        # Nearly every text is short and has nothing of the kind: a pattern is only tried where it can match.
        if "." in text:
            text = _TOKEN.sub(MASK, text)
        if len(text) > _KEY_DIGITS:
            text = _CERTIFICATE_KEY.sub(rf"\1{MASK}", text)
        if ":" in text:
            text = _KUBECONFIG_KEY.sub(rf"\1: {MASK}", text)
        if "-----BEGIN" in text:
            text = _PEM.sub(f"{MASK} (private key)", text)
        return text

    def clean(self, text: str) -> str:
        """Fit to be shown: masked and free of terminal escapes."""
        return self.mask(printable(text))
