"""Server processes: started, watched, stopped; and what CPU time they took."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

_START_S = 60.0
_STOP_S = 20.0
_LOOK_EVERY_S = 0.02
# Processes count as quiet when together they take less of a core than this, for so long. Idle,
# a router and its shards take some hundredths: they look after each other.
_QUIET_SHARE = 0.15
_QUIET_S = 1.0


class ServerProcess:
    """A server that another distribution brings, on a free port of loopback."""

    def __init__(self, argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start it and wait until its port is open.

        Args:
            argv: the script of the distribution, and its arguments; "{port}" is replaced.
            folder: for its log.
            environment: variables besides this process's own.

        Raises:
            RuntimeError: it ended, or its port did not open in time.
        """
        self.port = _free_port()
        script = str(Path(sys.executable).parent / argv[0])
        arguments = [script, *(argument.format(port=self.port) for argument in argv[1:])]
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        try:
            self._await_port(folder / "server.log")
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Tell its process id."""
        return self._process.pid

    def _await_port(self, log: Path) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(_LOOK_EVERY_S)
        raise RuntimeError(f"the server did not start; its log ends:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """Tell the CPU time that a process has taken."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def cpu_of(processes: Mapping[str, int]) -> Iterator[dict[str, float]]:
    """Measure the CPU seconds that processes take while the block runs, by name."""
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    spent: dict[str, float] = {}
    yield spent
    spent.update({name: cpu_seconds(pid) - before[name] for name, pid in processes.items()})


def memory_mb(pids: Iterable[int]) -> float:
    """Tell the resident memory of processes together, in MB of 10^6 bytes."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids) / 1e6


def await_quiet(pids: Iterable[int], timeout_s: float) -> None:
    """Wait until processes hardly work any more.

    Raises:
        TimeoutError: they still do after that time.
    """
    watched = list(pids)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        before = sum(map(cpu_seconds, watched))
        time.sleep(_QUIET_S)
        if sum(map(cpu_seconds, watched)) - before < _QUIET_SHARE * _QUIET_S:
            return
    raise TimeoutError(f"the servers still worked after {timeout_s} s")
