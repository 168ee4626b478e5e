"""Clusters of real processes that faults happen to."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig
from fanlight.cli.process import Program
from fanlight.errors import InvalidRequest, NotReady

ROOT = Path(__file__).resolve().parents[2]
# Heads of some hundred rows and idle times of moments, so that sealing, building and merging
# go on all the time.
BUSY: dict[str, Any] = {
    "index": {
        "head_bytes": 32_768,
        "unindexed_bytes": 4 << 20,
        "unindexed_bytes_searched": 4 << 20,
        "build_threads": 1,
        "idle_s": 0.1,
        "idle_rows_min": 1,
    }
}
# Below the range from which Linux takes the ports of outgoing connections and of port 0, so that
# nobody takes the port of a process that was killed before it is back.
_PORTS = range(15_000, 31_000)
_TRIES = 20


class AlteredCluster(LocalCluster):
    """A cluster whose shards run another module: a build that is broken on purpose."""

    def __init__(self, config: LocalConfig, module: str) -> None:
        super().__init__(config)
        self._module = module

    def _shard(self, index: int) -> Program:
        return replace(super()._shard(index), module=self._module)


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    shards: int = 2,
    server: dict[str, Any] | None = None,
    router: dict[str, Any] | None = None,
    module: str | None = None,
    choice: random.Random | None = None,
) -> Iterator[LocalCluster]:
    """Run a cluster whose processes can be killed and restarted on their ports.

    Args:
        folder: its data, logs and configuration; another attempt at other ports uses another one.
        shards: how many.
        server: keys of the shard servers.
        router: keys of the router.
        module: what the shards run instead of `fanlight_server`.
        choice: chooses the ports; for runs that are to be repeated it is no matter.
    """
    dice = choice or random.SystemRandom()
    with importable():
        cluster = _started(folder, shards, server or {}, router or {}, module, dice)
        try:
            yield cluster
        finally:
            # Not stopped in order: what must not be lost is safe from this too.
            cluster.kill_all()


def _started(
    folder: Path,
    shards: int,
    server: dict[str, Any],
    router: dict[str, Any],
    module: str | None,
    dice: random.Random,
) -> LocalCluster:
    for left in range(_TRIES, 0, -1):
        port = _free_ports(shards + 1, dice)
        shape = ClusterShape(shards=shards, port=port, data=folder / f"cluster-{left}")
        config = LocalConfig(cluster=shape, server=server, router=router)
        cluster = LocalCluster(config) if module is None else AlteredCluster(config, module)
        try:
            return cluster.__enter__()
        except (InvalidRequest, NotReady) as error:
            # Between the look at the ports and their binding somebody else may take one.
            if left == 1 or not ("in use" in str(error) or "cannot listen" in str(error)):
                raise
    raise AssertionError("unreachable")


def _free_ports(count: int, dice: random.Random) -> int:
    """Find the first of `count` ports in a row that are free now."""
    while True:
        first = dice.randrange(_PORTS.start, _PORTS.stop - count)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """Let child processes import `tests.faults`; their command line leaves the folder out."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
