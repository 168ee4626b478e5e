"""The watch over the shards: who is sent what, and how shards that lag are brought up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.fake_watched import UNREACHABLE, FakeWatched, WatchedCluster, soon

from fanlight.cluster import ShardState
from fanlight.errors import NotReady, Overloaded, WrongShard
from fanlight.filters import FieldType
from fanlight.model import CollectionInfo, CollectionSpec
from fanlight.placement import ShardIdentity

WaitUntil = Callable[..., Awaitable[None]]
SPEC = CollectionSpec("things", dim=4)
OTHER = CollectionSpec("things", dim=8)
UP, DOWN, WRONG = ShardState.SERVING, ShardState.UNREACHABLE, ShardState.MISMATCHED


@pytest.fixture
async def cluster() -> AsyncIterator[WatchedCluster]:
    """Make a cluster whose shards are looked at every 50 ms once it is started."""
    cluster = WatchedCluster()
    yield cluster
    await cluster.topology.close()


@pytest.fixture
async def calm() -> AsyncIterator[WatchedCluster]:
    """Make a cluster whose shards are looked at every hour."""
    cluster = WatchedCluster(probe_s=3_600)
    yield cluster
    await cluster.topology.close()


# --- who is admitted --------------------------------------------------------------------------


async def test_a_shard_that_is_the_one_expected_is_admitted(calm: WatchedCluster) -> None:
    """The first look admits it, and tells its items, address and collections."""
    calm.shards[1].hold(CollectionInfo(SPEC, version=1, items=7))
    await calm.topology.start()
    assert all(shard.is_admitted for shard in calm.shards)
    assert calm.states() == [UP, UP, UP]
    status = calm.topology.status.shards[1]
    assert (status.address, status.items) == ("host-1:1", 7)
    assert calm.known.of(1, "things") == 7


async def test_the_start_does_not_wait_for_shards_that_are_down(calm: WatchedCluster) -> None:
    """Each shard is looked at once; one that does not answer is refused, not waited for."""
    calm.shards[2].is_up = False
    await calm.topology.start()
    assert calm.states() == [UP, UP, DOWN]
    assert calm.shards[2].refusal is UNREACHABLE


async def test_a_shard_that_is_read_only_is_searched(calm: WatchedCluster) -> None:
    """It is admitted and not brought up; changing figures of a full disk are not news."""
    full = calm.shards[1]
    full.write_refusal = Overloaded("7 bytes are free")
    full.hold(CollectionInfo(SPEC, version=1, items=7))
    with capture_logs() as logs:
        await calm.topology.start()
        full.write_refusal = Overloaded("6 bytes are free")
        await calm.topology.refresh()
        full.write_refusal = NotReady("the disk failed")
        await calm.topology.refresh()
    assert full.is_admitted
    assert calm.states() == [UP, ShardState.READ_ONLY, UP]
    assert not calm.topology.status.complete
    assert calm.known.of(1, "things") == 7
    assert full.changes == []
    why = [log["why"] for log in logs if log["event"] == "shard read_only"]
    assert why == ["7 bytes are free", "the disk failed"]


@pytest.mark.parametrize(
    "other",
    [
        ShardIdentity("elsewhere", 1, 3),
        ShardIdentity("local", 2, 3),
        ShardIdentity("local", 1, 4),
    ],
)
async def test_a_shard_of_another_place_is_refused_loudly(
    calm: WatchedCluster, other: ShardIdentity
) -> None:
    """Another cluster, index or count: an error in the log, WrongShard naming both, no data."""
    calm.shards[1].answers_as = other
    calm.shards[1].hold(CollectionInfo(SPEC, version=9, items=7))
    with capture_logs() as logs:
        await calm.topology.start()
    assert calm.states() == [UP, WRONG, UP]
    refusal = calm.shards[1].refusal
    assert isinstance(refusal, WrongShard)
    assert "shard-1 of 3 of cluster 'local'" in str(refusal)
    assert f"shard-{other.index} of {other.count} of cluster '{other.cluster}'" in str(refusal)
    (entry,) = [log for log in logs if log["log_level"] == "error"]
    assert (entry["shard"], entry["why"]) == ("shard-1", str(refusal))
    assert calm.topology.newest("things") is None, "what it holds counts for nothing"
    assert calm.known.of(1, "things") is None


async def test_a_shard_that_comes_back_is_admitted_again(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """Nobody has to touch the router; what the shard held stays known meanwhile."""
    cluster.shards[0].hold(CollectionInfo(SPEC, version=1, items=7))
    await cluster.topology.start()
    cluster.shards[0].die()
    await wait_until_async(lambda: cluster.states() == [DOWN, UP, UP])
    assert cluster.topology.status.shards[0].items == 7
    assert cluster.known.of(0, "things") == 7
    cluster.shards[0].is_up = True
    await wait_until_async(lambda: cluster.shards[0].is_admitted)
    assert cluster.states() == [UP, UP, UP]


async def test_a_lost_connection_is_looked_into_at_once(
    calm: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """A shard that broke its connection proves itself again without waiting for the next look."""
    await calm.topology.start()
    await wait_until_async(lambda: calm.shards[1].looks == 2)
    calm.shards[1].break_connection()
    assert not calm.shards[1].is_admitted
    await wait_until_async(lambda: calm.shards[1].is_admitted)
    assert calm.shards[0].looks == 2


async def test_what_returns_at_an_address_may_be_another_shard(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """After a loss it is asked who it is before anything is sent to it."""
    await cluster.topology.start()
    cluster.shards[1].answers_as = ShardIdentity("local", 2, 3)
    cluster.shards[1].break_connection()
    await wait_until_async(lambda: cluster.states() == [UP, WRONG, UP])
    assert isinstance(cluster.shards[1].refusal, WrongShard)


async def test_a_shard_that_comes_back_without_its_data_is_refused(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """It is not taken for an empty one and brought up, which would hide the loss."""
    for shard in cluster.shards:
        shard.hold(CollectionInfo(SPEC, version=1, items=7))
    await cluster.topology.start()
    lost = cluster.shards[1]
    lost.die()
    await wait_until_async(lambda: cluster.states() == [UP, DOWN, UP])
    own = lost.held.pop("things")
    lost.is_up = True
    await wait_until_async(lambda: cluster.states() == [UP, WRONG, UP])
    assert isinstance(lost.refusal, WrongShard)
    assert "shard-1 no longer has 'things' (version 1, 7 items)" in str(lost.refusal)
    looks = lost.looks
    await wait_until_async(lambda: lost.looks > looks + 2)
    assert cluster.states() == [UP, WRONG, UP]
    assert lost.changes == []
    assert cluster.known.of(1, "things") == 7
    lost.hold(own)
    await wait_until_async(lambda: lost.is_admitted)
    assert cluster.states() == [UP, UP, UP]


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (CollectionInfo(SPEC, 3, items=7), CollectionInfo(SPEC, 2, items=5), WRONG),
        (CollectionInfo(SPEC, 3, items=7), CollectionInfo(SPEC, 4, deleted=True), UP),
        (CollectionInfo(SPEC, 3, items=7), CollectionInfo(SPEC, 5), UP),
        (CollectionInfo(SPEC, 3, items=7), CollectionInfo(SPEC, 3), UP),
        (CollectionInfo(SPEC, 3, deleted=True), CollectionInfo(SPEC, 2, items=7), UP),
    ],
    ids=["older", "deleted", "made anew", "emptied", "had none"],
)
async def test_what_a_shard_had_is_compared_by_version(
    calm: WatchedCluster, before: CollectionInfo, after: CollectionInfo, state: ShardState
) -> None:
    """Only what is there is lost, and what was deleted or emptied is not."""
    shard = calm.shards[1]
    shard.hold(before)
    await calm.topology.refresh()
    shard.hold(after)
    await calm.topology.refresh()
    assert calm.states()[1] is state


async def test_a_shard_lost_while_it_is_looked_at_is_not_admitted(
    calm: WatchedCluster,
) -> None:
    """An answer from before the loss says nothing of what is there after it."""
    calm.shards[1].lose_while_looked_at = True
    await calm.topology.refresh()
    assert [shard.is_admitted for shard in calm.shards] == [True, False, True]


async def test_a_busy_shard_stays_admitted(calm: WatchedCluster) -> None:
    """A shard that is too busy to tell its status is shown as such, but calls go on."""
    await calm.topology.refresh()
    calm.shards[1].busy = True
    await calm.topology.refresh()
    assert calm.states() == [UP, DOWN, UP]
    assert calm.shards[1].is_admitted


async def test_only_changes_are_logged(calm: WatchedCluster) -> None:
    """A shard that stays down is one line in the log, not one a look."""
    calm.shards[1].is_up = False
    with capture_logs() as logs:
        for _ in range(3):
            await calm.topology.refresh()
    assert [log["event"] for log in logs if log["shard"] == "shard-1"] == ["shard unreachable"]


# --- which collections --------------------------------------------------------------------------


async def brought_up(
    cluster: WatchedCluster, wait_until_async: WaitUntil, version: tuple[int, bool]
) -> None:
    await cluster.topology.start()
    await wait_until_async(lambda: cluster.versions("things") == [version] * 3)


def give(shard: FakeWatched, version: int, *, deleted: bool = False, items: int = 0) -> None:
    shard.hold(CollectionInfo(SPEC, version, items=items, deleted=deleted))


async def test_a_shard_without_a_collection_gets_it(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """It is created with the version that the others hold."""
    give(cluster.shards[0], 3)
    give(cluster.shards[1], 3, items=5)
    await brought_up(cluster, wait_until_async, (3, False))
    assert cluster.shards[2].changes == [("create", "things", 3)]
    assert cluster.shards[2].held["things"].spec == SPEC
    assert cluster.shards[0].changes == cluster.shards[1].changes == []


async def test_an_older_collection_is_replaced(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """A shard that missed a deletion and a creation gets the newest version."""
    cluster.shards[0].hold(CollectionInfo(OTHER, version=1, items=9))
    give(cluster.shards[1], 3)
    await brought_up(cluster, wait_until_async, (3, False))
    assert cluster.shards[0].held["things"] == CollectionInfo(SPEC, version=3)


async def test_a_missed_deletion_is_made_up_for(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """A deletion wins over the older collection, also on a shard that never had it."""
    give(cluster.shards[0], 1, items=9)
    give(cluster.shards[1], 2, deleted=True)
    await brought_up(cluster, wait_until_async, (2, True))


async def test_a_newer_collection_wins_over_a_deletion(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """The record of a deletion does not come back to life."""
    give(cluster.shards[0], 2, deleted=True)
    give(cluster.shards[1], 3)
    await brought_up(cluster, wait_until_async, (3, False))


async def test_a_shard_is_brought_up_when_it_returns(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """What happened while it was away reaches it when it is back; what it alone knows, the rest."""
    give(cluster.shards[2], 7)
    cluster.shards[2].is_up = False
    give(cluster.shards[0], 1)
    await cluster.topology.start()
    await wait_until_async(lambda: cluster.versions("things")[:2] == [(1, False)] * 2)
    cluster.shards[2].is_up = True
    await wait_until_async(lambda: cluster.versions("things") == [(7, False)] * 3)


async def test_a_change_that_fails_is_tried_again(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """A shard that cannot take a collection now gets it later."""
    give(cluster.shards[0], 1)
    cluster.shards[1].fault = Overloaded("disk is full")
    await cluster.topology.start()
    await wait_until_async(lambda: cluster.shards[1].looks >= 3)
    assert cluster.versions("things")[1] is None
    cluster.shards[1].fault = None
    await wait_until_async(lambda: cluster.versions("things") == [(1, False)] * 3)


async def test_shards_that_disagree_are_reported_not_changed(
    cluster: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """Two collections of one name and version: no router destroys data to settle it."""
    give(cluster.shards[0], 1)
    cluster.shards[1].hold(CollectionInfo(OTHER, version=1))
    with capture_logs() as logs:
        await cluster.topology.start()
        await wait_until_async(lambda: cluster.shards[1].looks >= 3)
    assert [shard.changes for shard in cluster.shards[:2]] == [[], []]
    assert any(log["log_level"] == "error" and log["collection"] == "things" for log in logs)
    assert {log["event"] for log in logs if log["log_level"] == "error"} == {
        "shards disagree on a collection; delete it"
    }


@pytest.mark.parametrize("declared", [{"filterable": {"year": FieldType.INT}}, {"ef_search": 70}])
async def test_who_disagrees_on_a_declaration_need_not_delete(
    cluster: WatchedCluster, wait_until_async: WaitUntil, declared: dict[str, Any]
) -> None:
    """Items are at stake, so the log names the least that settles it; and it does settle it."""
    spec = replace(SPEC, **declared)
    for shard, own in zip(cluster.shards, (spec, SPEC, spec), strict=True):
        shard.hold(CollectionInfo(own, version=1, items=5, fields_version=1))
    with capture_logs() as logs:
        await cluster.topology.start()
        await wait_until_async(lambda: cluster.shards[1].looks >= 3)
    assert {log["event"] for log in logs if log["log_level"] == "error"} == {
        "shards disagree on a collection; declare its fields again"
    }
    await cluster.catalog.update("things", spec.filterable, [], soon(), declared.get("ef_search"))
    held = [shard.held["things"] for shard in cluster.shards]
    assert [(info.spec, info.items) for info in held] == [(spec, 5)] * 3
