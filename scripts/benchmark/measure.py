"""Runs one command as a client and says what it cost: the first process of a PID namespace of the client's own.

So nothing gets away: workers, daemons that detached themselves and connections kept for later are all ended and counted
when the command has ended. The result goes to a file as JSON.

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
"""Most of one core's time that may go into looking at memory."""


class Memory:
    """The most memory all processes of the namespace had at once: proportional set size, shared pages counted once."""

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
    """CPU seconds and the largest single process of everything that was taken leave of."""

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
        """End what the command left behind."""
        for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + patience
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
    # Popen must not complain that it never saw the end of its child.
    process.returncode = cost["exit_code"]


if __name__ == "__main__":
    main()
