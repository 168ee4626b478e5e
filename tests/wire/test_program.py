"""The shard server as a process: arguments, exit codes, signals, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fanlight.config import load
from fanlight_server.config import ServerConfig

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "fanlight_server"]
EXIT_S = 20


class Server:
    """A shard server under test, on a free port."""

    def __init__(self, data: Path, *arguments: str, **options: Any) -> None:
        self.port_file = data.parent / f"{data.name}.port"
        self.port_file.unlink(missing_ok=True)
        usual = ["--set", f"data={data}", "--port-file", str(self.port_file)]
        self.process = subprocess.Popen(
            [*COMMAND, *usual, "--set", "listen.port=0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def address(self, wait_until: Callable[..., None]) -> str:
        """Wait until it is bound."""
        wait_until(lambda: self.port_file.exists() or self.process.poll() is not None, EXIT_S)
        return self.port_file.read_text()

    def wait_until_serving(self, wait_until: Callable[..., None]) -> None:
        """Wait until its health says so."""
        with grpc.insecure_channel(self.address(wait_until)) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest()
            serving = health_pb2.HealthCheckResponse.SERVING
            wait_until(lambda: stub.Check(request, timeout=EXIT_S).status == serving)

    def end(self) -> tuple[int, str]:
        """Wait for its end; give the exit code and what it logged."""
        _, log = self.process.communicate(timeout=EXIT_S)
        return self.process.returncode, log


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Give `start(*arguments, data="data")`, whose servers do not outlive the test."""
    with ExitStack() as stack:

        def make(*arguments: str, data: str = "data", **options: Any) -> Server:
            server = Server(tmp_path / data, *arguments, **options)
            stack.callback(server.end)
            stack.callback(server.process.kill)
            return server

        yield make


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(
    start: Callable[..., Server], wait_until: Callable[..., None], number: signal.Signals
) -> None:
    """SIGTERM and SIGINT drain the server, which then exits with 0."""
    server = start()
    server.wait_until_serving(wait_until)
    server.process.send_signal(number)
    code, log = server.end()
    assert code == 0, log
    assert "draining" in log
    assert "stopped" in log


def test_it_stops_with_its_parent(
    start: Callable[..., Server], wait_until: Callable[..., None]
) -> None:
    """With --exit-with-parent the end of stdin drains the server."""
    server = start("--exit-with-parent", stdin=subprocess.PIPE)
    server.wait_until_serving(wait_until)
    assert server.process.stdin is not None
    server.process.stdin.close()
    server.process.stdin = None
    assert server.end()[0] == 0


def test_a_second_signal_ends_it_at_once(
    start: Callable[..., Server], wait_until: Callable[..., None]
) -> None:
    """A second signal does not wait for the calls under way."""
    server = start("--set", "listen.drain_s=600")
    server.wait_until_serving(wait_until)
    with grpc.insecure_channel(server.address(wait_until)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        next(watch)
        server.process.terminate()
        next(watch)  # it drains, and this call holds it up
        server.process.terminate()
        assert server.end()[0] == 128 + signal.SIGTERM


def test_the_port_in_use_is_named(
    start: Callable[..., Server], wait_until: Callable[..., None]
) -> None:
    """A second server on the same address ends with 1 and one line that names it."""
    address = start().address(wait_until)
    second = start("--set", f"listen.port={address.rpartition(':')[2]}", data="other")
    code, log = second.end()
    assert code == 1
    assert f"fanlight-server: cannot listen on {address}: address already in use" in log
    assert "Traceback" not in log


def test_the_data_directory_in_use_is_named(
    start: Callable[..., Server], wait_until: Callable[..., None]
) -> None:
    """A second server on the same data ends with 1 and names the directory and its owner."""
    first = start()
    first.wait_until_serving(wait_until)
    code, log = start().end()
    assert code == 1
    assert str(first.process.pid) in log
    assert "Traceback" not in log


def test_a_directory_that_cannot_be_made_is_named(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """A data directory below a file ends the server with 1 and names the path."""
    (tmp_path / "file").touch()
    code, log = start("--set", f"data={tmp_path / 'file' / 'data'}").end()
    assert code == 1
    assert f"fanlight-server: {tmp_path / 'file'}" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "listen.prot=1"], "did you mean listen.port?"),
        (["--set", "listen.host=0.0.0.0"], "listen.insecure: true"),
        (["--set", "shard.index=1"], "shard.index: expected less than shard.count (1), got 1"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml: cannot be read"),
        (["--set", "access.keys=/nowhere.yaml"], "/nowhere.yaml: cannot be read"),
    ],
)
def test_a_wrong_configuration_ends_it_with_2(
    start: Callable[..., Server], arguments: list[str], complaint: str
) -> None:
    """A configuration error is one clear line and exit code 2."""
    code, log = start(*arguments).end()
    assert code == 2
    assert complaint in log
    assert "Traceback" not in log


def test_the_effective_configuration_loads_again(tmp_path: Path) -> None:
    """What --print-config prints is a file that gives the same configuration."""
    overrides = ["data=x", "listen.port=7", "limits.k=5", "shard.count=3"]
    sets = [part for override in overrides for part in ("--set", override)]
    printed = subprocess.run(
        [*COMMAND, "--print-config", *sets], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    path = tmp_path / "c.yaml"
    path.write_text(printed)
    assert load(ServerConfig, path) == load(ServerConfig, None, overrides)
    assert yaml.safe_load(printed)["limits"]["k"] == 5


def test_insecure_is_a_word_of_its_own() -> None:
    """--insecure says what listen.insecure does."""
    command = [*COMMAND, "--insecure", "--print-config", "--set", "data=x"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert yaml.safe_load(printed)["listen"]["insecure"] is True


def test_the_log_is_lines_of_json_when_asked(
    start: Callable[..., Server], wait_until: Callable[..., None]
) -> None:
    """In JSON every line is an object; the first tells the effective configuration."""
    server = start("--set", "log.format=json")
    server.wait_until_serving(wait_until)
    server.process.terminate()
    lines = [json.loads(line) for line in server.end()[1].splitlines()]
    assert [line["event"] for line in lines] == ["starting", "serving", "draining", "stopped"]
    assert lines[0]["config"]["listen"]["host"] == "127.0.0.1"
