"""One shard server as a real process, with whatever disk it is to have."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.waiting import wait_until

_START_S = 120.0
_END_S = 120.0
_STEP_S = 0.01


class OneShard:
    """A running shard server. A context manager that does not outlive its block.

    Attributes:
        address: where it serves.
        log: file of what it logged.
    """

    def __init__(
        self,
        data: Path,
        *settings: str,
        module: str = "fanlight_server",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; `settings` are "key=value"."""
        self.log = data.with_name(f"{data.name}.log")
        port_file = data.with_name(f"{data.name}.port")
        port_file.unlink(missing_ok=True)
        keys = [f"data={data}", "listen.port=0", "listen.drain_s=5", *settings]
        command = [sys.executable, "-m", module, "--exit-with-parent"]
        command += ["--port-file", str(port_file)]
        command += [part for key in keys for part in ("--set", key)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=log, env=env, cwd=Path(__file__).parents[2]
            )
        try:
            self.address = self._await_address(port_file)
            self._await_serving()
        except BaseException:
            self.kill()
            raise

    def _await_address(self, port_file: Path) -> str:
        deadline = time.monotonic() + _START_S
        while not port_file.exists():
            ended = self._process.poll() is not None
            assert not ended, f"it ended: {self.log.read_text()[-2_000:]}"
            assert time.monotonic() < deadline, "it was not bound in time"
            time.sleep(_STEP_S)
        return port_file.read_text()

    def _await_serving(self) -> None:
        wait_until(lambda: self.is_healthy(""), _START_S, "it serves", step_s=_STEP_S)

    def is_healthy(self, service: str) -> bool:
        """Ask the health service for one service; "" for the server as a whole."""
        with grpc.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service=service)
            answer = stub.Check(  # pyright: ignore[reportAttributeAccessIssue]
                request, timeout=_START_S, wait_for_ready=True
            )
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def stop(self) -> int:
        """Let it drain; give its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._ended()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._ended()

    def _ended(self) -> int:
        code = self._process.wait(_END_S)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code

    def __enter__(self) -> OneShard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
