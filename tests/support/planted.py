"""Secrets that a test plants, and the lines of a log in which they lie."""

from __future__ import annotations

import base64
import secrets


def _noise(size: int) -> str:
    return base64.b64encode(secrets.token_bytes(size)).decode()


TOKEN = "q1w2e3.r4t5y6u7i8o9p0a1"
CERTIFICATE_KEY = secrets.token_hex(32)
WEB_TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJl-planted_1"
BEARER = "planted-bearer-41"
URL_PASSWORD = "planted-url-52"
WORD = "planted-word-63"
KEY_LINES = [_noise(48) for _ in range(4)]
LONE_KEY_LINE = _noise(48)
CLIENT_KEY = base64.b64encode(b"-----BEGIN RSA PRIVATE KEY-----\n" + secrets.token_bytes(90)).decode()

PLANTED = [TOKEN, CERTIFICATE_KEY, WEB_TOKEN, BEARER, URL_PASSWORD, WORD, *KEY_LINES, LONE_KEY_LINE, CLIENT_KEY]

LINES = [
    f"kubeadm join 10.0.0.1:6443 --token {TOKEN} --discovery-token-ca-cert-hash sha256:00ff",
    f"--certificate-key {CERTIFICATE_KEY}",
    # The first line of this key was before the last lines of the log.
    LONE_KEY_LINE,
    "-----END EC PRIVATE KEY-----",
    f"got {WEB_TOKEN} from the API server",
    f"Authorization: Bearer {BEARER}",
    f"pulling https://robot:{URL_PASSWORD}@registry.example.com/v2/ failed",
    f'POSTGRES_PASSWORD="{WORD}" and password: {WORD}, --registry-password {WORD}',
    f'{{"secret": "{WORD}", "apiKey":"{WORD}"}}',
    f"client-key-data: {CLIENT_KEY}",
    CLIENT_KEY,
    "-----BEGIN RSA PRIVATE KEY-----",
    *KEY_LINES,
    "-----END RSA PRIVATE KEY-----",
    "harmless: the last line of all",
]
"""What a host could log. The last line is no secret."""
