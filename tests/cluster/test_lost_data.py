"""A shard that comes back without its data, on real directories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.cluster.test_cli import runner

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


@dataclass(frozen=True, slots=True)
class Bereft:
    """A cluster one of whose shards has come back over an empty directory.

    Attributes:
        cluster: two shards and a router.
        client: of the router.
        items: the collection that the shard had a part of.
        data: the directory of the shard.
        kept: where its data is.
    """

    cluster: LocalCluster
    client: fanlight.Client
    items: fanlight.Collection
    data: Path
    kept: Path


@pytest.fixture
def bereft(start_cluster: StartCluster, wait_until: WaitUntil) -> Iterator[Bereft]:
    """Take a shard's data away, and wait until the router has noticed."""
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
        wait_until(lambda: client.status().shards[1].state is ShardState.MISMATCHED, 60)
        yield Bereft(cluster, client, items, data, kept)


def test_a_shard_without_its_data_is_not_taken_for_an_empty_one(
    bereft: Bereft, wait_until: WaitUntil
) -> None:
    """It is refused by name until it has its data again."""
    items, cluster = bereft.items, bereft.cluster
    for call in (
        lambda: items.search(VECTORS[:1], k=5, timeout=5),
        lambda: items.upsert(IDS, VECTORS, timeout=5),
    ):
        with pytest.raises(
            FanlightError, match=r"shard-1 stands on data .* but shard-0 met it with"
        ):
            call()
    part = items.search(VECTORS[:1], k=5, min_coverage=0.5)
    assert part.coverage.shards_answered == 1
    assert part.coverage.items_total == len(IDS)

    cluster.kill(LOST)
    bereft.data.rename(bereft.data.with_name("empty"))
    bereft.kept.rename(bereft.data)
    cluster.restart(LOST)
    wait_until(lambda: bereft.client.status().complete, 60)
    assert items.search(VECTORS, k=1, exact=True).ids[:, 0].tolist() == IDS.tolist()


def test_a_loss_is_known_after_a_restart_of_all(bereft: Bereft, wait_until: WaitUntil) -> None:
    """The other shards remember, so routers need not."""
    cluster, client = bereft.cluster, bereft.client
    for name in (ROUTER, "shard-0"):
        cluster.kill(name)
        cluster.restart(name)
    states = [ShardState.SERVING, ShardState.MISMATCHED]
    wait_until(lambda: [shard.state for shard in client.status().shards] == states, 60)
    with pytest.raises(FanlightError, match="fanlight accept shard-1"):
        bereft.items.upsert(IDS, VECTORS, timeout=5)


def test_a_loss_that_is_accepted_is_made_up_for(
    bereft: Bereft, wait_until: WaitUntil, tmp_path: Path
) -> None:
    """The shard is brought up empty, and its items may be written again; what it had is refused."""
    cluster, client = bereft.cluster, bereft.client
    run = runner(cluster.address, tmp_path)
    done = run("accept", LOST, "--yes")
    assert done.returncode == 0, done.stderr
    assert f"{LOST} is serving now." in done.stdout
    wait_until(lambda: len(client.status().shards[1].collections) == 1, 60)
    assert 0 < bereft.items.count() < len(IDS)
    bereft.items.upsert(IDS, VECTORS)
    assert bereft.items.count() == len(IDS)
    again = run("accept", LOST)
    assert (again.returncode, "nothing to accept" in again.stderr) == (0, True)

    cluster.kill(LOST)
    bereft.data.rename(bereft.data.with_name("new"))
    bereft.kept.rename(bereft.data)
    cluster.restart(LOST)
    wait_until(lambda: client.status().shards[1].state is ShardState.MISMATCHED, 60)


def test_nothing_is_accepted_that_nobody_confirmed(bereft: Bereft, tmp_path: Path) -> None:
    """Without --yes the command asks; and it names what it cannot accept."""
    run = runner(bereft.cluster.address, tmp_path)
    asked = run("accept", LOST)
    assert asked.returncode == 1
    assert "Give up what shard-1 had before? [y/N]" in asked.stderr
    unknown = run("accept", "shard-2", "--yes")
    assert unknown.returncode == 1
    assert "expected shard-0 or shard-1, got 'shard-2'" in unknown.stderr
    assert bereft.client.status().shards[1].state is ShardState.MISMATCHED
