"""Creating, deleting and describing collections over all shards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from tests.unit.fake_watched import WatchedCluster, soon

from fanlight.errors import (
    AlreadyExists,
    InvalidRequest,
    NotFound,
    NotReady,
    PartialResult,
    WrongShard,
)
from fanlight.filters import FieldType
from fanlight.model import CollectionInfo, CollectionSpec
from fanlight.placement import ShardIdentity

WaitUntil = Callable[..., Awaitable[None]]
SPEC = CollectionSpec("things", dim=4)
OTHER = CollectionSpec("things", dim=8, m=32)


@pytest.fixture
async def cluster() -> AsyncIterator[WatchedCluster]:
    """Start watching three empty shards."""
    cluster = WatchedCluster()
    await cluster.topology.start()
    yield cluster
    await cluster.topology.close()


# --- create -----------------------------------------------------------------------------------


async def test_a_collection_is_created_on_all_shards(cluster: WatchedCluster) -> None:
    """All shards hold it with the same version, and the status shows it at once."""
    info = await cluster.catalog.create(SPEC, soon())
    assert info == CollectionInfo(SPEC, version=1)
    assert cluster.versions("things") == [(1, False)] * 3
    assert [len(shard.collections) for shard in cluster.topology.status.shards] == [1, 1, 1]


async def test_creating_it_again_returns_it(cluster: WatchedCluster) -> None:
    """The same parameters give the collection as it stands; nothing is lost, nothing changes."""
    await cluster.catalog.create(SPEC, soon())
    for shard in cluster.shards:
        shard.hold(CollectionInfo(SPEC, version=1, items=5, unindexed_items=2, segments=1))
    info = await cluster.catalog.create(SPEC, soon())
    assert info == CollectionInfo(SPEC, version=1, items=15, unindexed_items=6, segments=3)
    assert [len(shard.changes) for shard in cluster.shards] == [1, 1, 1]


async def test_creating_it_with_other_parameters_is_refused(cluster: WatchedCluster) -> None:
    """AlreadyExists says which parameters differ, and how."""
    await cluster.catalog.create(SPEC, soon())
    more = replace(SPEC, filterable={"year": FieldType.INT})
    with pytest.raises(AlreadyExists, match="filterable none, not year int"):
        await cluster.catalog.create(more, soon())
    with pytest.raises(AlreadyExists, match="dim 4, not 8, m 16, not 32"):
        await cluster.catalog.create(OTHER, soon())


async def test_creating_it_again_repairs_shards_that_lack_it() -> None:
    """A shard without the collection gets it, with the version of the others."""
    cluster = WatchedCluster(probe_s=3_600)
    cluster.shards[0].hold(CollectionInfo(SPEC, version=4, items=5))
    assert (await cluster.catalog.create(SPEC, soon())).items == 5
    assert cluster.versions("things") == [(4, False)] * 3


async def test_a_new_collection_is_newer_than_all_before(cluster: WatchedCluster) -> None:
    """After a deletion the version goes on, so that the deletion cannot win."""
    await cluster.catalog.create(SPEC, soon())
    await cluster.catalog.delete("things", soon())
    info = await cluster.catalog.create(OTHER, soon())
    assert info.version == 3
    assert cluster.versions("things") == [(3, False)] * 3


async def test_impossible_parameters_reach_no_shard(cluster: WatchedCluster) -> None:
    """They are refused by name."""
    with pytest.raises(InvalidRequest, match="dim"):
        await cluster.catalog.create(CollectionSpec("things", dim=0), soon())
    assert [shard.changes for shard in cluster.shards] == [[], [], []]


async def test_a_change_needs_all_shards(cluster: WatchedCluster) -> None:
    """With one missing nothing is changed anywhere; the error names it."""
    await cluster.catalog.create(SPEC, soon())
    cluster.shards[1].die()
    with pytest.raises(NotReady, match=r"creating .* all shards: shard-1: cannot be reached"):
        await cluster.catalog.create(CollectionSpec("more", dim=4), soon())
    with pytest.raises(NotReady, match=r"deleting .* all shards: shard-1: cannot be reached"):
        await cluster.catalog.delete("things", soon())
    assert cluster.versions("more") == [None] * 3
    assert cluster.versions("things") == [(1, False)] * 3


async def test_a_change_is_not_sent_to_a_shard_of_another_place(cluster: WatchedCluster) -> None:
    """WrongShard names both identities."""
    cluster.shards[1].answers_as = ShardIdentity("local", 2, 3)
    with pytest.raises(WrongShard, match=r"shard-1 of 3 .* got shard-2 of 3"):
        await cluster.catalog.create(SPEC, soon())
    assert cluster.versions("things") == [None] * 3


async def test_a_creation_cut_short_is_completed(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """The error names the shard that lacks the collection, which then gets it on its own."""
    cluster.shards[2].fault = NotReady("lost its disk")
    with pytest.raises(NotReady, match=r"creation waits .* shard-2: lost its disk"):
        await cluster.catalog.create(SPEC, soon())
    assert cluster.versions("things")[:2] == [(1, False)] * 2
    cluster.shards[2].fault = None
    await wait_until_async(lambda: cluster.versions("things") == [(1, False)] * 3)


async def test_of_two_routers_one_creates(cluster: WatchedCluster) -> None:
    """The loser finds shard 0 taken and has touched no other."""
    cluster.shards[0].fault = AlreadyExists("exists otherwise")
    with pytest.raises(AlreadyExists):
        await cluster.catalog.create(SPEC, soon())
    assert [shard.changes for shard in cluster.shards] == [[], [], []]


async def test_callers_of_one_router_create_one_after_the_other(cluster: WatchedCluster) -> None:
    """Of many creations at once with different parameters exactly one wins, on all shards."""
    specs = [CollectionSpec("things", dim=dim) for dim in range(1, 6)]
    outcomes = await asyncio.gather(
        *(cluster.catalog.create(spec, soon()) for spec in specs), return_exceptions=True
    )
    (winner,) = [info for info in outcomes if isinstance(info, CollectionInfo)]
    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == 4
    assert [shard.held["things"].spec for shard in cluster.shards] == [winner.spec] * 3


# --- delete -----------------------------------------------------------------------------------


async def test_a_deletion_reaches_all_shards_under_one_version(cluster: WatchedCluster) -> None:
    """The collection is gone from every shard; deleting it again finds nothing."""
    await cluster.catalog.create(SPEC, soon())
    await cluster.catalog.delete("things", soon())
    assert cluster.versions("things") == [(2, True)] * 3
    for name in ("things", "nobody"):
        with pytest.raises(NotFound, match=name):
            await cluster.catalog.delete(name, soon())


async def test_a_deletion_cut_short_is_completed_when_the_shard_returns(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """The errors say so, of the first try and of the next ones."""
    await cluster.catalog.create(SPEC, soon())
    cluster.shards[1].fault = NotReady("cannot be reached")
    with pytest.raises(NotReady, match="deletion waits for shards, which get it on return"):
        await cluster.catalog.delete("things", soon())
    cluster.shards[1].die()
    with pytest.raises(NotReady, match=r"shard-1: .*these will when they return"):
        await cluster.catalog.delete("things", soon())
    cluster.shards[1].fault = None
    cluster.shards[1].is_up = True
    await wait_until_async(lambda: cluster.versions("things") == [(2, True)] * 3)


# --- describe ---------------------------------------------------------------------------------


async def test_a_description_adds_up_the_shards(cluster: WatchedCluster) -> None:
    """Items and segments are those of all shards, from the newest version alone."""
    for items, shard in enumerate(cluster.shards):
        shard.hold(CollectionInfo(SPEC, 2, items=items, unindexed_items=1, segments=2))
    cluster.shards[0].hold(CollectionInfo(SPEC, 1, items=1_000, segments=9))
    info, coverage = await cluster.catalog.get("things", 0.5, soon())
    assert info == CollectionInfo(SPEC, 2, items=3, unindexed_items=2, segments=4)
    assert coverage.complete
    infos, _ = await cluster.catalog.list_all(0.5, soon())
    assert infos == [info]


async def test_a_description_says_which_shards_it_lacks(cluster: WatchedCluster) -> None:
    """With a lower min_coverage the others answer; the coverage counts the lost as last seen."""
    for name in ("zebras", "things"):
        await cluster.catalog.create(CollectionSpec(name, dim=4), soon())
    for shard in cluster.shards:
        shard.hold(CollectionInfo(SPEC, 1, items=5))
    await cluster.topology.refresh()
    cluster.shards[1].die()
    info, coverage = await cluster.catalog.get("things", 0.5, soon())
    assert (info.items, coverage.items_total, coverage.shards_answered) == (10, 15, 2)
    infos, coverage = await cluster.catalog.list_all(0.5, soon())
    assert [info.spec.name for info in infos] == ["things", "zebras"]
    assert (coverage.items_total, coverage.items_covered) == (15, 10)
    assert [failure.shard for failure in coverage.failures] == ["shard-1"]
    with pytest.raises(PartialResult, match="shard-1"):
        await cluster.catalog.get("things", 1.0, soon())
    with pytest.raises(PartialResult, match="shard-1"):
        await cluster.catalog.list_all(1.0, soon())


async def test_a_description_needs_one_shard(cluster: WatchedCluster) -> None:
    """With none there is no answer, whatever the caller allows; an unknown name is NotFound."""
    with pytest.raises(NotFound):
        await cluster.catalog.get("things", 0.0, soon())
    for shard in cluster.shards:
        shard.die()
    with pytest.raises(PartialResult):
        await cluster.catalog.get("things", 0.0, soon())
    with pytest.raises(PartialResult):
        await cluster.catalog.list_all(0.0, soon())


async def test_a_share_that_is_none_is_refused(cluster: WatchedCluster) -> None:
    """min_coverage is from 0 to 1 for descriptions as for searches."""
    with pytest.raises(InvalidRequest, match="min_coverage"):
        await cluster.catalog.get("things", 1.5, soon())
    with pytest.raises(InvalidRequest, match="min_coverage"):
        await cluster.catalog.list_all(-1.0, soon())
