"""curl: fetches from the simulated internet and from API servers of the lab."""

from __future__ import annotations

import re
import sys

from kbootstrap_lab.simulated.fakes import internet, pod_network
from kbootstrap_lab.simulated.fakes.common import Failed, connect, run_main, unsupported

_FLAGS = {
    "fail": "f",
    "silent": "s",
    "show-error": "S",
    "location": "L",
    "insecure": "k",
    "head": "I",
    "remote-name": "O",
}
_VALUES = {"-o": "o", "--output": "o", "-w": "w", "--write-out": "w"}
_IGNORED = {
    "--connect-timeout",
    "--max-time",
    "-m",
    "--retry",
    "--retry-delay",
    "--max-filesize",
    "--cacert",
    "-H",
    "--proto",
    "--max-redirs",
    "--noproxy",
}
_SWITCHES = {"--tlsv1.2", "--retry-connrefused", "--no-progress-meter", "-4", "--ipv4", "--compressed"}


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    if argv == ["--version"]:
        print("curl 7.76.1 (simulated)")
        return 0
    flags, options, urls = _parse(command, argv)
    if len(urls) != 1:
        unsupported(command, argv)
    try:
        status, body = _get(urls[0])
    except Failed as failed:
        if "s" in flags and "S" not in flags:
            failed.text = ""
        if "w" in options:
            _write_out(options["w"], 0)
        raise
    if "f" in flags and status >= 400:
        if "w" in options:
            _write_out(options["w"], status)
        quiet = "s" in flags and "S" not in flags
        raise Failed("" if quiet else f"curl: (22) The requested URL returned error: {status}", 22)
    _deliver(urls[0], f"HTTP/2 {status} \n" if "I" in flags else body, flags, options)
    if "w" in options:
        _write_out(options["w"], status)
    return 0


def _parse(command: str, argv: list[str]) -> tuple[set[str], dict[str, str], list[str]]:
    flags: set[str] = set()
    options: dict[str, str] = {}
    urls: list[str] = []
    words = iter(argv)
    for word in words:
        if word in _VALUES:
            options[_VALUES[word]] = next(words)
        elif word in _IGNORED:
            next(words)
        elif word in _SWITCHES or word.partition("=")[0] in _IGNORED:
            continue
        elif word.startswith("--") and word[2:] in _FLAGS:
            flags.add(_FLAGS[word[2:]])
        elif re.fullmatch(r"-[fsSLkIO]+o?", word):
            flags.update(word[1:].replace("o", ""))
            if word.endswith("o"):
                options["o"] = next(words)
        elif word.startswith("-"):
            unsupported(command, argv)
        else:
            urls.append(word)
    return flags, options, urls


def _get(url: str) -> tuple[int, str]:
    api = re.match(r"https://([\w.-]+):(6443|8443)(/\w*)", url)
    if api:
        return _api(api[1], int(api[2]), api[3])
    if "://" not in url:
        url = "http://" + url
    address = re.match(r"https?://(\d+\.\d+\.\d+\.\d+)(?::(\d+))?", url)
    if address and 30000 <= int(address[2] or 80) <= 32767:
        return 200, pod_network.answer_of_node_port(address[1], int(address[2]))
    if address and not internet.known_host(url):
        raise Failed(f"curl: (7) Failed to connect to {address[1]} port {address[2] or 80}: Connection refused", 7)
    if not internet.known_host(url):
        raise Failed(f"curl: (6) Could not resolve host: {internet.host_of(url)}", 6)
    kind = internet.trouble(url)
    if kind.isdigit():
        return int(kind), "trouble\n"
    if kind == "reset":
        raise Failed("curl: (56) Recv failure: Connection reset by peer", 56)
    if kind:
        raise Failed(f"curl: (28) Failed to connect to {internet.host_of(url)} port 443: Timeout was reached", 28)
    return internet.fetch(url)


def _api(host: str, port: int, path: str) -> tuple[int, str]:
    try:
        connect(host, port)
    except Failed as failed:
        if "no such host" in failed.text:
            raise Failed(f"curl: (6) Could not resolve host: {host}", 6) from None
        raise Failed(
            f"curl: (7) Failed to connect to {host} port {port}: {failed.text.rpartition(': ')[2]}", 7
        ) from None
    return (200, "ok") if path in ("/healthz", "/readyz", "/livez") else (403, "{}\n")


def _deliver(url: str, body: str, flags: set[str], options: dict[str, str]) -> None:
    target = url.rpartition("/")[2] if "O" in flags else options.get("o", "-")
    if target == "-":
        sys.stdout.write(body)
        return
    try:
        with open(target, "w") as file:
            file.write(body)
    except OSError as error:
        raise Failed(f"curl: (23) Failure writing output to destination: {error.strerror}", 23) from None


def _write_out(text: str, status: int) -> None:
    if re.sub(r"%\{(http_code|response_code)\}", "", text).count("%{"):
        raise Failed(f"simulated curl: unsupported: -w {text}", 64)
    sys.stdout.write(re.sub(r"%\{(http_code|response_code)\}", f"{status:03d}", text).replace("\\n", "\n"))
