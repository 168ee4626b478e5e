"""The launcher's promises: all or nothing at the start, in order at the stop, nothing left over."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import trustme
from tests.faults.secure_cluster import Files, Keys

import fanlight
from fanlight.cli.claims import claimed
from fanlight.cli.local_cluster import LocalCluster
from fanlight.errors import InvalidRequest, NotReady

pytestmark = pytest.mark.slow

StartCluster = Callable[..., LocalCluster]
WaitUntil = Callable[..., None]
VECTORS = np.random.default_rng(seed=3).standard_normal((60, 8), dtype=np.float32)


class Up:
    """`fanlight up` as a user runs it, on free ports unless told otherwise."""

    def __init__(self, data: Path, *arguments: str) -> None:
        argv = [sys.executable, "-m", "fanlight.cli", "up", "--data", str(data), "--port", "0"]
        self.process = subprocess.Popen(
            [*argv, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("Ready"):
                break

    @property
    def pids(self) -> dict[str, int]:
        found = (re.match(r"(\S+) +pid (\d+)", line) for line in self.lines)
        return {match[1]: int(match[2]) for match in found if match}

    @property
    def address(self) -> str:
        found = re.search(r"Connect to (\S+);", self.lines[-1])
        assert found, self.lines
        return found[1]

    def stderr_line(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline().rstrip()

    def close(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                child.kill()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Give `up(*arguments)`; what it started is ended at the end of the test."""
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(tmp_path / "data", *arguments))
        return started[-1]

    yield start
    for running in started:
        running.close()


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def fill(address: str) -> None:
    with fanlight.Client(address) as client:
        client.create_collection("items", dim=8).upsert(np.arange(60), VECTORS)


def nearest(address: str, min_coverage: float = 1.0) -> fanlight.Hits:
    with fanlight.Client(address) as client:
        return client.collection("items").search(VECTORS[0], k=1, min_coverage=min_coverage)


def free_ports(count: int) -> int:
    """Find the first of `count` ports in a row that are free."""
    for first in range(20_000, 30_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    pytest.fail("no free ports")


def test_a_started_cluster_is_ready(cluster: LocalCluster, client: fanlight.Client) -> None:
    """When the start returns, every shard serves and the first call succeeds."""
    status = client.status()
    assert status.complete
    shards = [process.address for process in cluster.processes[:-1]]
    assert [shard.address for shard in status.shards] == shards
    assert [process.name for process in cluster.processes] == [
        "shard-0",
        "shard-1",
        "shard-2",
        "router",
    ]


def test_data_logs_and_configuration_have_their_places(cluster: LocalCluster) -> None:
    """Each process logs to logs/, its configuration is in config/, a shard's data in its folder."""
    data = cluster.config.cluster.data
    for process in cluster.processes:
        assert "serving" in (data / "logs" / f"{process.name}.log").read_text()
        assert (data / "config" / f"{process.name}.yaml").exists()
        assert process.program.data is None or any(process.program.data.iterdir())


def test_shards_take_the_ports_after_the_router(start_cluster: StartCluster) -> None:
    """With port P, the router listens on P and the shards on the next ones."""
    port = free_ports(3)
    with start_cluster(shards=2, port=port) as cluster:
        assert [p.address for p in cluster.processes] == [
            f"127.0.0.1:{port + offset}" for offset in (1, 2, 0)
        ]


def test_a_port_in_use_is_refused(start_cluster: StartCluster) -> None:
    """A port in use is named with its owner's pid, and no process is started."""
    port = free_ports(4)
    cluster = start_cluster(port=port)
    with socket.create_server(("127.0.0.1", port + 2)):
        expected = rf"port: expected {port} to {port + 3} free .* {port + 2}, in use by pid "
        with pytest.raises(InvalidRequest, match=f"{expected}{os.getpid()} ") as refused:
            cluster.__enter__()
    assert str(port + 1) not in refused.value.got
    assert not cluster.processes


def test_a_data_directory_in_use_is_refused(start_cluster: StartCluster) -> None:
    """A data directory in use is refused with its owner's pid, and no process is started."""
    cluster = start_cluster()
    with (
        claimed(cluster.config.cluster.data),
        pytest.raises(InvalidRequest, match=f"data: .* in use by pid {os.getpid()}$"),
    ):
        cluster.__enter__()
    assert not cluster.processes


def test_a_data_directory_is_free_after_the_stop(start_cluster: StartCluster) -> None:
    """The same data directory can be used again at once, and holds the same items."""
    with start_cluster(shards=2) as first:
        fill(first.address)
    with start_cluster(shards=2) as second:
        hits = nearest(second.address)
    assert hits.ids.tolist() == [[0]]
    assert hits.coverage.items_total == len(VECTORS)


def test_another_number_of_shards_is_refused(start_cluster: StartCluster) -> None:
    """Data of two shards is not served by three: items were placed by the number."""
    with start_cluster(shards=2):
        pass
    with pytest.raises(NotReady, match=r"(?s)shard-\d ended with.*shard \d of 2.*of 3"):
        start_cluster(shards=3).__enter__()


def test_the_router_stops_before_the_shards(start_cluster: StartCluster) -> None:
    """A stop drains the router to its end before it asks the shards; all end with status 0."""
    with start_cluster(shards=2) as cluster:
        processes = cluster.processes
    assert [process.exit_status for process in processes] == [0, 0, 0]
    *shards, router = processes
    for shard in shards:
        assert logged_at(router.program.log_path, "stopped") <= logged_at(
            shard.program.log_path, "draining"
        )


def logged_at(log: Path, event: str) -> str:
    """Find the time of an event; ISO times sort as text."""
    return next(line.split()[0] for line in log.read_text().splitlines() if f"] {event} " in line)


def test_a_process_that_fails_to_start_is_explained(start_cluster: StartCluster) -> None:
    """When a process ends during the start, the error ends with its log and nothing runs on."""
    cluster = start_cluster(server={"index": {"head_byte": 1}})
    with pytest.raises(NotReady, match=r"(?s)shard-0 ended with status 2.*head_bytes\?") as failed:
        cluster.__enter__()
    assert "Traceback" not in str(failed.value)
    assert all(process.exit_status is not None for process in cluster.processes)


def test_a_restarted_shard_is_found_again(
    start_cluster: StartCluster, wait_until: WaitUntil
) -> None:
    """A shard that was killed comes back on its port, and answers are complete again."""
    with start_cluster() as cluster:
        fill(cluster.address)
        before = cluster.process("shard-1").address
        cluster.kill("shard-1")
        assert not nearest(cluster.address, min_coverage=0.5).coverage.complete
        cluster.restart("shard-1")
        assert cluster.process("shard-1").address == before

        def complete() -> bool:
            return nearest(cluster.address, min_coverage=0.5).coverage.complete

        wait_until(complete, 20)


def test_up_prints_processes_and_address(up: Callable[..., Up]) -> None:
    """`fanlight up` prints a line for each process and the address to connect to."""
    running = up("--shards", "2")
    assert list(running.pids) == ["shard-0", "shard-1", "router"]
    assert not any(has_ended(pid) for pid in running.pids.values())
    with fanlight.Client(running.address) as client:
        assert client.status().complete


def test_ctrl_c_stops_everything(up: Callable[..., Up]) -> None:
    """Ctrl-C ends `up` with status 0 after all its processes."""
    running = up("--shards", "1")
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(30) == 0
    assert all(has_ended(pid) for pid in running.pids.values())


def test_a_second_ctrl_c_kills(up: Callable[..., Up], wait_until: WaitUntil) -> None:
    """A second Ctrl-C does not wait for a process that does not stop."""
    running = up("--shards", "1")
    os.kill(running.pids["router"], signal.SIGSTOP)
    running.process.send_signal(signal.SIGINT)
    assert "Stopping" in running.stderr_line()
    running.process.send_signal(signal.SIGINT)
    running.process.wait(10)
    assert all(has_ended(pid) for pid in running.pids.values())


def test_processes_end_with_a_killed_launcher(up: Callable[..., Up], wait_until: WaitUntil) -> None:
    """When the launcher is killed, its processes stop, and nothing acknowledged is lost."""
    running = up("--shards", "2")
    fill(running.address)
    running.process.kill()
    for pid in running.pids.values():
        wait_until(lambda pid=pid: has_ended(pid), 30)
    again = up("--shards", "2")
    assert nearest(again.address).coverage.items_total == len(VECTORS)


def test_a_dead_shard_is_reported(up: Callable[..., Up]) -> None:
    """A shard that dies is reported in one line, and the rest goes on without it."""
    running = up()
    fill(running.address)
    pid = running.pids["shard-1"]
    os.kill(pid, signal.SIGKILL)
    line = running.stderr_line()
    assert line.startswith(f"shard-1 (pid {pid}) was ended by signal 9")
    assert "shard-1.log" in line
    coverage = nearest(running.address, min_coverage=0.5).coverage
    assert (coverage.shards_answered, coverage.shards_total) == (2, 3)


def test_a_dead_router_ends_the_cluster(up: Callable[..., Up]) -> None:
    """When the router dies, `up` stops the shards and ends with status 1."""
    running = up("--shards", "1")
    os.kill(running.pids["router"], signal.SIGKILL)
    assert running.stderr_line().startswith("router (pid ")
    assert running.process.wait(30) == 1
    assert all(has_ended(pid) for pid in running.pids.values())


def test_a_local_cluster_with_tls_and_keys_serves(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    """`fanlight up` takes certificates and keys as the programs do; without a key nobody is served."""
    files = Files(tmp_path / "tls")
    ca = trustme.CA()
    files.issue(ca, "127.0.0.1")
    keys = Keys(tmp_path / "keys.yaml")
    key, access = keys.add("me", "admin"), {"keys": str(keys.path)}
    served = {"cert": str(files.cert), "key": str(files.key)}
    tls = fanlight.Tls(ca=str(files.ca))
    with start_cluster(
        shards=1, server={"access": access}, router={"access": access, "tls": served}
    ) as cluster:
        with fanlight.Client(cluster.address, tls=tls, api_key=key) as client:
            assert client.status().complete
        with (
            fanlight.Client(cluster.address, tls=tls, api_key="") as nobody,
            pytest.raises(fanlight.Unauthenticated),
        ):
            nobody.status()
