"""Runs one command as a client and measures its cost. It is the first process of the client's PID namespace.

The cost therefore includes every process: workers, detached daemons and processes of kept connections. They are ended
when the command has ended. The result is written to a file as JSON.

    measure.py RESULT LOG COMMAND...
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

SAMPLING = 0.02
"""The largest share of one core's time for measuring memory."""


class Memory:
    """The peak memory of all processes of the namespace: proportional set size, with shared pages counted once."""

    def __init__(self) -> None:
        self.peak_kib = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = 0.05
        while not self._ended.wait(pause):
            began = time.thread_time()
            self.peak_kib = max(self.peak_kib, sum(map(_pss, _others())))
            pause = max(0.05, (time.thread_time() - began) / SAMPLING)


def _others() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def _pss(pid: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except (OSError, ProcessLookupError):
        return 0
    return 0


class Bill:
    """CPU seconds, and the largest single process, of all reaped processes."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.largest_kib = 0

    def wait(self, pid: int, options: int = 0) -> tuple[int, int]:
        ended, status, usage = os.wait4(pid, options)
        if ended:
            self._add(usage)
        return ended, status

    def _add(self, usage: resource.struct_rusage) -> None:
        self.cpu_s += usage.ru_utime + usage.ru_stime
        self.largest_kib = max(self.largest_kib, usage.ru_maxrss)

    def settle(self) -> None:
        """End the processes that the command left behind."""
        for number, timeout in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + timeout
            for pid in _others():
                try:
                    os.kill(int(pid), number)
                except ProcessLookupError:
                    continue
            while _others() and time.monotonic() < deadline:
                try:
                    if self.wait(-1, os.WNOHANG)[0] == 0:
                        time.sleep(0.005)
                except ChildProcessError:
                    return


def main() -> None:
    result, log, *command = sys.argv[1:]
    with open(log, "wb") as output:
        memory, bill = Memory(), Bill()
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        ended = 0
        while ended != process.pid:
            ended, status = bill.wait(-1)
        wall = time.perf_counter() - began
        memory.stop()
        bill.settle()
    cost = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "wall_s": wall,
        "client_cpu_s": bill.cpu_s,
        "rss_mb": max(memory.peak_kib, bill.largest_kib) / 1024,
    }
    Path(result).write_text(json.dumps(cost))
    # Keep Popen from warning that its child still runs: the child was reaped elsewhere.
    process.returncode = cost["exit_code"]


if __name__ == "__main__":
    main()
