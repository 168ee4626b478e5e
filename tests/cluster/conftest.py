"""A cluster of real processes, and brute force as its oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Run three shards and a router on free ports, for the tests of one module."""
    data = tmp_path_factory.mktemp("cluster")
    with LocalCluster(LocalConfig(cluster=ClusterShape(port=0, data=data))) as running:
        yield running


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[fanlight.Client]:
    """Connect to the router of `cluster`."""
    with fanlight.Client(cluster.address) as connected:
        yield connected


@pytest.fixture
def start_cluster(tmp_path: Path) -> Callable[..., LocalCluster]:
    """Give `start_cluster(shards=..., server=..., router=...)`, not started: it is a context.

    Every cluster of one test has the same data directory.
    """

    def make(
        shards: int = 3,
        port: int = 0,
        server: dict[str, Any] | None = None,
        router: dict[str, Any] | None = None,
    ) -> LocalCluster:
        shape = ClusterShape(shards=shards, port=port, data=tmp_path / "data")
        return LocalCluster(LocalConfig(cluster=shape, server=server or {}, router=router or {}))

    return make
