"""Shards that know each other by their data: who is introduced, who is refused, who is accepted."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.unit.fake_watched import FakeWatched, WatchedCluster, data_of, soon

from fanlight.cluster import ShardState, ShardStatus
from fanlight.errors import FanlightError, InvalidRequest, NotReady, Overloaded, WrongShard
from fanlight.model import CollectionInfo, CollectionSpec
from fanlight.placement import ShardIdentity
from fanlight.provenance import contradicting

WaitUntil = Callable[..., Awaitable[None]]
SPEC = CollectionSpec("things", dim=4)
UP, DOWN, WRONG = ShardState.SERVING, ShardState.UNREACHABLE, ShardState.MISMATCHED
OTHER = data_of(1, "e")


@pytest.fixture
async def calm() -> AsyncIterator[WatchedCluster]:
    """Make a cluster whose shards are looked at every hour."""
    cluster = WatchedCluster(probe_s=3_600)
    yield cluster
    await cluster.topology.close()


def replace_data(shard: FakeWatched) -> None:
    """Put an empty directory in the place of its own."""
    shard.data_id, shard.peers, shard.held = OTHER, {}, {}


async def test_shards_are_introduced_to_each_other(calm: WatchedCluster) -> None:
    """After they were looked at once all know the data of all others."""
    await calm.topology.start()
    assert calm.states() == [UP, UP, UP]
    for shard in calm.shards:
        others = {0, 1, 2} - {shard.identity.index}
        assert shard.peers == {index: data_of(index) for index in others}


async def test_in_a_large_cluster_a_shard_knows_its_neighbours() -> None:
    """Statuses stay small, and a stranger is noticed all the same."""
    cluster = WatchedCluster(probe_s=3_600, shards=100)
    await cluster.topology.refresh()
    assert set(cluster.shards[3].peers) == {*range(95, 100), *range(3), *range(4, 12)}
    replace_data(cluster.shards[3])
    await cluster.restart_router()
    assert [i for i, state in enumerate(cluster.states()) if state is not UP] == [3]
    await cluster.topology.accept_data({3: OTHER}, soon(), replace=True)
    assert set(cluster.states()) == {UP}
    assert set(cluster.shards[3].peers) == {*range(95, 100), *range(3), *range(4, 12)}
    await cluster.topology.close()


async def test_a_shard_that_is_away_is_introduced_when_it_returns(calm: WatchedCluster) -> None:
    """What happened meanwhile does not matter."""
    calm.shards[2].is_up = False
    await calm.topology.refresh()
    assert calm.shards[0].peers == {1: data_of(1)}
    calm.shards[2].is_up = True
    await calm.topology.refresh()
    assert calm.states() == [UP, UP, UP]
    assert calm.shards[2].peers == {0: data_of(0), 1: data_of(1)}
    assert calm.shards[0].peers == {1: data_of(1), 2: data_of(2)}


async def test_a_shard_over_other_data_is_refused_by_a_new_router_too(
    calm: WatchedCluster,
) -> None:
    """The others know; the words name them, both ids and the way out, and nothing is sent to it."""
    calm.shards[0].hold(CollectionInfo(SPEC, version=1, items=7))
    await calm.topology.start()
    replace_data(calm.shards[1])
    await calm.restart_router()
    assert calm.states() == [UP, WRONG, UP]
    refusal = str(calm.shards[1].refusal)
    assert (
        "shard-1 stands on data eeeeeeee, but shard-0 and shard-2 met it with dddddddd" in refusal
    )
    assert "fanlight accept shard-1" in refusal
    await calm.topology.refresh()
    assert (calm.shards[1].changes, calm.shards[1].peers) == ([], {})
    assert calm.shards[0].peers[1] == data_of(1)


async def test_a_stranger_that_was_seen_first_is_refused_when_another_tells(
    calm: WatchedCluster,
) -> None:
    """While nobody who knows better can be asked it is admitted, and no longer."""
    stranger, *knowing = calm.shards[1], calm.shards[0], calm.shards[2]
    await calm.topology.refresh()
    replace_data(stranger)
    for shard in knowing:
        shard.is_up = False
    await calm.forget()
    await calm.topology.refresh()
    assert calm.states() == [DOWN, UP, DOWN]
    with pytest.raises(NotReady, match="creating a collection needs all shards"):
        await calm.catalog.create(SPEC, soon())
    assert stranger.held == {}, "so nothing can be written to it"
    knowing[1].is_up = True
    stranger.busy = True  # so that nothing comes of a look at itself
    await calm.topology.refresh()
    assert isinstance(stranger.refusal, WrongShard)


async def test_a_stranger_at_the_start_is_refused_before_the_start_ends(
    calm: WatchedCluster,
) -> None:
    """Also where its status comes before that of the shards that know better."""
    await calm.topology.start()
    replace_data(calm.shards[0])
    await calm.restart_router()
    assert calm.states() == [WRONG, UP, UP]
    assert not calm.shards[0].is_admitted


async def test_of_two_routers_with_two_shards_for_one_place_one_is_refused(
    calm: WatchedCluster,
) -> None:
    """Both see the other shards for the first time; who is second learns of the first."""
    second = WatchedCluster(probe_s=3_600)
    for index in (0, 2):
        second.shards[index].peers = calm.shards[index].peers
    second.shards[1].data_id = OTHER
    await calm.topology.refresh()
    await second.topology.refresh()
    assert calm.states() == [UP, UP, UP]
    assert second.states() == [UP, WRONG, UP]
    await second.topology.close()


async def test_whoever_is_introduced_second_is_refused(calm: WatchedCluster) -> None:
    """Another router was faster after this one looked: the shard itself tells."""
    calm.shards[0].peers[1] = OTHER
    calm.shards[0].hide_peers = True
    await calm.topology.refresh()
    assert calm.states() == [UP, WRONG, UP]
    assert "shard-0 knows other data" in str(calm.shards[1].refusal)


async def test_a_shard_of_another_cluster_does_not_take_the_others_with_it(
    calm: WatchedCluster,
) -> None:
    """It knows all of them otherwise, and all of them know it otherwise: it is the stranger."""
    await calm.topology.start()
    calm.shards[1].data_id = OTHER
    calm.shards[1].peers = {0: data_of(0, "f"), 2: data_of(2, "f")}
    await calm.restart_router()
    assert calm.states() == [UP, WRONG, UP]


async def test_two_that_do_not_know_each_other_are_both_refused(calm: WatchedCluster) -> None:
    """Nobody can tell which of them is right."""
    await calm.topology.start()
    calm.shards[2].is_up = False
    calm.shards[1].data_id = OTHER
    calm.shards[1].peers = {0: data_of(0, "f")}
    await calm.restart_router()
    assert calm.states() == [WRONG, WRONG, DOWN]


async def test_a_router_remembers_where_no_shard_does() -> None:
    """In a cluster of one shard nobody else can tell."""
    cluster = WatchedCluster(probe_s=3_600, shards=1)
    await cluster.topology.refresh()
    cluster.shards[0].data_id = OTHER
    await cluster.topology.refresh()
    assert cluster.states() == [WRONG]
    assert "this router met it with dddddddd" in str(cluster.shards[0].refusal)
    await cluster.topology.accept_data({0: OTHER}, soon(), replace=True)
    assert cluster.states() == [UP]
    await cluster.topology.close()


@pytest.mark.parametrize("fault", [Overloaded("the disk is full"), NotReady("drains")])
async def test_a_shard_that_cannot_remember_is_told_again(
    calm: WatchedCluster, fault: FanlightError
) -> None:
    """That is no reason to refuse the other."""
    calm.shards[0].fault = fault
    await calm.topology.refresh()
    assert calm.states() == [UP, UP, UP]
    assert calm.shards[0].peers == {}
    calm.shards[0].fault = None
    await calm.topology.refresh()
    assert calm.shards[0].peers == {1: data_of(1), 2: data_of(2)}


async def test_a_shard_that_takes_no_writes_is_told_nothing(calm: WatchedCluster) -> None:
    """It is searched all the same."""
    calm.shards[0].write_refusal = Overloaded("the disk is full")
    await calm.topology.refresh()
    assert calm.states() == [ShardState.READ_ONLY, UP, UP]
    assert calm.shards[0].peers == {}


# --- accepting ----------------------------------------------------------------------------------


async def lost(cluster: WatchedCluster) -> FakeWatched:
    """Start the cluster, and let shard-1 come back over an empty directory."""
    for shard in cluster.shards:
        shard.hold(CollectionInfo(SPEC, version=1, items=7))
    await cluster.topology.start()
    replace_data(cluster.shards[1])
    await cluster.topology.refresh()
    assert cluster.states() == [UP, WRONG, UP]
    return cluster.shards[1]


async def test_accepted_data_is_the_shards_from_then_on(
    calm: WatchedCluster, wait_until_async: WaitUntil
) -> None:
    """It is admitted, and is brought up; all others know it by that; its old data is strange now."""
    shard = await lost(calm)
    await calm.topology.accept_data({1: OTHER}, soon(), replace=True)
    assert calm.states() == [UP, UP, UP]
    assert shard.is_admitted
    assert [calm.shards[at].peers[1] for at in (0, 2)] == [OTHER, OTHER]
    assert shard.peers == {0: data_of(0), 2: data_of(2)}
    shard.data_id = data_of(1)
    await calm.restart_router()
    assert calm.states() == [UP, WRONG, UP]


async def test_accepted_data_may_have_known_others(calm: WatchedCluster) -> None:
    """What another cluster's data remembers is given up as well."""
    shard = await lost(calm)
    shard.peers = {0: data_of(0, "f"), 2: data_of(2, "f")}
    await calm.topology.refresh()
    await calm.topology.accept_data({1: OTHER}, soon(), replace=True)
    assert calm.states() == [UP, UP, UP]
    assert shard.peers == {0: data_of(0), 2: data_of(2)}


async def test_accepting_needs_the_shards(calm: WatchedCluster) -> None:
    """One that missed it would contradict for ever; it is named, and nothing is changed."""
    await lost(calm)
    calm.shards[2].is_up = False
    with pytest.raises(NotReady, match="needs shard-2, which is missing"):
        await calm.topology.accept_data({1: OTHER}, soon(), replace=True)
    assert calm.states() == [UP, WRONG, DOWN]
    assert calm.shards[0].peers[1] == data_of(1)
    calm.shards[2].is_up = True
    await calm.topology.accept_data({1: OTHER}, soon(), replace=True)
    assert calm.states() == [UP, UP, UP]


async def test_what_is_accepted_must_be_there(calm: WatchedCluster) -> None:
    """A shard that was exchanged once more since somebody looked is not what he accepted."""
    await lost(calm)
    with pytest.raises(WrongShard, match="shard-1 is known by data eeeeeeee, not ffffffff"):
        await calm.topology.accept_data({1: data_of(1, "f")}, soon(), replace=True)
    with pytest.raises(WrongShard, match="shard-1 is known by data dddddddd"):
        await calm.topology.accept_data({1: OTHER}, soon(), replace=False)
    with pytest.raises(InvalidRequest, match=r"shards\.index"):
        await calm.topology.accept_data({3: OTHER}, soon(), replace=True)
    assert calm.states() == [UP, WRONG, UP]


# --- whom to believe ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_few_strangers_are_found(seed: int) -> None:
    """However much everybody knows: among shards that know each other the others are the strange ones."""
    dice = random.Random(seed)
    count = dice.randrange(3, 12)
    strangers = set(dice.sample(range(count), dice.randrange(0, (count - 1) // 2 + 1)))
    statuses = []
    for index in range(count):
        letter = "f" if index in strangers else "d"
        knows_all = {at: data_of(at, "d") for at in range(count) if at != index}
        if index in strangers:
            kept = dice.random()
            knows_all = {at: data_of(at, "e") for at in knows_all if dice.random() < kept}
        identity = ShardIdentity("local", index, count)
        data = (data_of(index, letter), knows_all)
        statuses.append(ShardStatus(identity, "a:1", UP, None, (), "1", *data))
    assert {at for at in range(count) if contradicting(at, statuses)} == strangers
