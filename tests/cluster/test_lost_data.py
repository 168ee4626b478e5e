"""A shard that comes back without its data, on real directories."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fanlight
from fanlight.cli.local_cluster import ROUTER, LocalCluster
from fanlight.cluster import ShardState
from fanlight.errors import FanlightError

pytestmark = pytest.mark.slow

StartCluster = Callable[..., LocalCluster]
WaitUntil = Callable[..., None]
VECTORS = np.random.default_rng(seed=11).standard_normal((200, 8), dtype=np.float32)
IDS = np.arange(len(VECTORS))
LOST = "shard-1"


def states(client: fanlight.Client) -> list[ShardState]:
    return [shard.state for shard in client.status().shards]


def test_a_shard_without_its_data_is_not_taken_for_an_empty_one(
    start_cluster: StartCluster, wait_until: WaitUntil
) -> None:
    """It is refused by name until it has its data again, or until the routers are restarted."""
    with start_cluster(shards=2) as cluster, fanlight.Client(cluster.address) as client:
        items = client.create_collection("things", dim=8)
        items.upsert(IDS, VECTORS)
        # until the router has seen the items, whose number it then knows
        wait_until(lambda: sum(shard.items for shard in client.status().shards) == len(IDS), 60)
        data = cluster.process(LOST).program.data
        assert data is not None
        cluster.kill(LOST)
        kept = data.rename(data.with_name("kept"))
        cluster.restart(LOST)
        wait_until(lambda: states(client)[1] is ShardState.MISMATCHED, 60)

        for call in (
            lambda: items.search(VECTORS[:1], k=5, timeout=5),
            lambda: items.upsert(IDS, VECTORS, timeout=5),
        ):
            with pytest.raises(FanlightError, match="no longer has 'things'"):
                call()
        part = items.search(VECTORS[:1], k=5, min_coverage=0.5)
        assert part.coverage.shards_answered == 1
        assert part.coverage.items_total == len(IDS)

        cluster.kill(LOST)
        data.rename(data.with_name("empty"))
        kept.rename(data)
        cluster.restart(LOST)
        wait_until(lambda: client.status().complete, 60)
        assert items.search(VECTORS, k=1, exact=True).ids[:, 0].tolist() == IDS.tolist()


def test_a_new_router_goes_on_with_what_is_there(
    start_cluster: StartCluster, wait_until: WaitUntil
) -> None:
    """Whoever restarts it says that the loss is known."""
    with start_cluster(shards=2) as cluster, fanlight.Client(cluster.address) as client:
        items = client.create_collection("things", dim=8)
        items.upsert(IDS, VECTORS)
        data = cluster.process(LOST).program.data
        assert data is not None
        cluster.kill(LOST)
        data.rename(data.with_name("kept"))
        cluster.restart(LOST)
        wait_until(lambda: states(client)[1] is ShardState.MISMATCHED, 60)
        cluster.kill(ROUTER)
        cluster.restart(ROUTER)
        wait_until(lambda: client.status().complete, 60)
        assert 0 < items.count() < len(IDS)
        items.upsert(IDS, VECTORS)
        assert items.count() == len(IDS)
