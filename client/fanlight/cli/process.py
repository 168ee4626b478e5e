"""One program of a local cluster as a real process: started, watched, ended.

Laws: a process never outlives its launcher, however that ends: the pipe on its stdin closes,
and the program drains and stops. It is in a process group of its own, so Ctrl-C reaches the
launcher alone, which stops all in order. It is not in a session of its own: Linux shares out cores
by session first (autogroups, see sched(7)), and builders at low priority would then give way to
searches of their own process only.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fanlight.errors import NotReady

# How often a starting process is looked at: far below what its start takes (about a second).
_LOOK_EVERY_S = 0.02
_TAIL_LINES = 12
_TAIL_COLUMNS = 200
_HEADER = "# Written by the launcher at every start; changes here are lost.\n"


@dataclass(frozen=True, slots=True)
class Program:
    """What a process is started from.

    Attributes:
        name: "shard-<index>" or "router".
        module: the Python module that is run.
        folder: directory of the cluster, for log, configuration and port file.
        keys: its configuration.
        data: its data directory, if it has one.
    """

    name: str
    module: str
    folder: Path
    keys: Mapping[str, Any]
    data: Path | None = None

    def file(self, kind: str, suffix: str) -> Path:
        """Name one of its files, in a directory made for that kind."""
        folder = self.folder / kind
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder / f"{self.name}{suffix}"

    @property
    def log_path(self) -> Path:
        """Name its log file."""
        return self.file("logs", ".log")


class Process:
    """A program that was started. Not thread-safe.

    Attributes:
        program: what it was started from.
        address: "host:port" that it announced; "" before.
    """

    def __init__(self, program: Program) -> None:
        """Start the program; it is not ready yet."""
        self.program = program
        self.address = ""
        self._port_file = program.file("run", ".port")
        self._port_file.unlink(missing_ok=True)
        config = program.file("config", ".yaml")
        config.write_text(_HEADER + yaml.safe_dump(dict(program.keys), sort_keys=False))
        # -P: nothing is imported from the directory that the launcher was called in.
        argv = [sys.executable, "-P", "-m", program.module, "--config", str(config)]
        argv += ["--port-file", str(self._port_file), "--exit-with-parent"]
        with program.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def name(self) -> str:
        """Name it."""
        return self.program.name

    @property
    def pid(self) -> int:
        """Tell its process id."""
        return self._popen.pid

    @property
    def exit_status(self) -> int | None:
        """Tell its exit status (negative: the signal that ended it); None while it runs."""
        return self._popen.poll()

    def await_address(self, deadline: float) -> None:
        """Wait until it has announced its address.

        Raises:
            NotReady: it ended, or the deadline (of the monotonic clock) passed.
        """
        self._wait_until(self._port_file.exists, "bound to its port", deadline)
        self.address = self._port_file.read_text(encoding="ascii").strip()

    def await_serving(self, deadline: float) -> None:
        """Wait until its health service says SERVING.

        Raises:
            NotReady: it ended, or the deadline (of the monotonic clock) passed.
        """
        with grpc.insecure_channel(self._probed_at) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            self._wait_until(lambda: _is_serving(stub), "ready to serve", deadline)

    @property
    def _probed_at(self) -> str:
        """Name where its health is asked for: at its socket, which is never encrypted."""
        socket = self.program.keys.get("listen", {}).get("socket")
        return f"unix:{socket}" if socket else self.address

    def _wait_until(self, reached: Callable[[], bool], state: str, deadline: float) -> None:
        while not reached():
            if self.exit_status is not None:
                raise NotReady(f"{self.name} {self.ending()}. Its log ends:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise NotReady(f"{self.name} was not {state} in time; see {self.program.log_path}")
            time.sleep(_LOOK_EVERY_S)

    def ending(self) -> str:
        """Say how it ended, for people."""
        status = self.exit_status
        if status is None:
            return "runs"
        return f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"

    def log_tail(self) -> str:
        """Read the last lines that this process logged, cut where they are long."""
        with self.program.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line[:_TAIL_COLUMNS]}" for line in lines[-_TAIL_LINES:])

    def terminate(self) -> None:
        """Ask it to drain and stop."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it at once, as a crash does; does not wait, and may be called by a signal handler."""
        self._popen.kill()

    def await_end(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended; kill it when that takes longer than `timeout_s`."""
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()


def _is_serving(stub: health_pb2_grpc.HealthStub) -> bool:
    try:
        request = health_pb2.HealthCheckRequest()
        # The package brings no types.
        answer = stub.Check(request, timeout=1.0)  # pyright: ignore[reportAttributeAccessIssue]
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
