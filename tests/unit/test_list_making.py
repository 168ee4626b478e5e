"""Lists made at a router: off its loop, within the deadline, whatever shards do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from tests import oracle
from tests.unit.fake_shards import (
    coarse_vectors,
    filled,
    soon,
)
from tests.unit.fanout_pieces import UNREACHABLE, expected, request, top

from fanlight.errors import (
    DeadlineExceeded,
)
from fanlight.examples import interest, interests
from fanlight.model import Items, Rows, ShardFailure
from fanlight.queries import Cap, Slate
from fanlight.slate.shortlist import Shortlist

WaitUntil = Callable[..., Awaitable[None]]


@pytest.mark.parametrize("by", ["rules", "interests"])
async def test_the_loop_turns_while_a_list_is_made(
    monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Whatever a list is made for, others are served meanwhile: no place is given on the loop."""
    cluster, choose, threads = await filled(), Shortlist.choose, set[int]()

    def watched(shortlist: Shortlist, window: Rows) -> None:
        threads.add(threading.get_ident())
        choose(shortlist, window)

    monkeypatch.setattr(Shortlist, "choose", watched)
    one, other = coarse_vectors(2, 2)
    search = request(n=1, slate=Slate(caps=[Cap("n", 1)]))
    if by == "interests":
        search = request(vectors=None, composed=(interests(interest(one), interest(other)),))
    hits = await cluster.fanout.search(search, soon())
    assert hits.counts.tolist() == [7]
    assert threads
    assert threading.get_ident() not in threads


async def test_a_list_is_not_made_on_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends with the time of its caller, whose query fails alone."""
    cluster, choose, deadline, chosen = await filled(), Shortlist.choose, soon(), list[Rows]()

    def last(shortlist: Shortlist, window: Rows) -> None:
        chosen.append(window)
        object.__setattr__(deadline, "at", 0.0)  # the time is over while a place is given
        choose(shortlist, window)

    monkeypatch.setattr(Shortlist, "choose", last)
    hits = await cluster.fanout.search(request(n=2, slate=Slate(caps=[Cap("n", 1)])), deadline)
    assert [type(error) for error in hits.errors.values()] == [DeadlineExceeded] * 2
    assert hits.counts.tolist() == [0, 0]
    assert len(chosen) == 1


async def test_a_list_is_not_made_on_for_a_caller_who_has_gone(
    monkeypatch: pytest.MonkeyPatch, wait_until_async: WaitUntil
) -> None:
    """Nor does the thread outlast a call that is cancelled."""
    cluster, choose, chosen = await filled(), Shortlist.choose, list[Rows]()
    gone = threading.Event()

    def slow(shortlist: Shortlist, window: Rows) -> None:
        chosen.append(window)
        assert gone.wait(60)
        choose(shortlist, window)

    monkeypatch.setattr(Shortlist, "choose", slow)
    search = request(slate=Slate(caps=[Cap("n", 1)]))
    asking = asyncio.create_task(cluster.fanout.search(search, soon(600)))
    await wait_until_async(lambda: chosen)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gone.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert len(chosen) == 1


async def test_a_shard_that_hangs_leaves_time_for_a_list_of_the_others() -> None:
    """Where fewer shards may answer, no step of a search waits for one of them to the end."""
    cluster = await filled()
    cluster.shards[0].gate.clear()
    search = request(n=1, min_coverage=0.5, slate=Slate(caps=[Cap("n", 1)]))
    hits = await cluster.fanout.search(search, soon(4))
    assert not hits.errors
    (failure,) = hits.coverage.failures
    assert failure.shard == "shard-0"
    cluster.shards[0].items.clear()
    oracle.assert_equal(top(hits), expected(cluster, search))


@pytest.mark.parametrize("rule", ["cap", "near-duplicates"])
async def test_no_rule_is_broken_for_want_of_items_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """Hits of a shard that fails before its items are read are left out, and the answer says so."""
    cluster = await filled()
    for shard in cluster.shards:
        for name, (vector, _) in shard.items.items():
            shard.items[name] = (vector, b'{"seller": %d}' % (int(str(name)) % 5))
    lost = cluster.shards[1]

    async def fail(*_: object) -> Items:
        raise UNREACHABLE

    monkeypatch.setattr(lost, "get", fail)
    slate = Slate(caps=[Cap("seller", 1)]) if rule == "cap" else Slate(near_duplicate=0.99)
    search = request(n=3, k=60, min_coverage=0.5, slate=slate)
    hits = await cluster.fanout.search(search, soon())
    assert not hits.errors
    lost_items = set(lost.items)
    assert not lost_items & set(hits.ids.ravel().tolist())
    coverage = hits.coverage
    assert coverage.failures == (ShardFailure("shard-1", UNREACHABLE),)
    assert (coverage.shards_total, coverage.shards_answered) == (3, 2)
    assert coverage.items_covered == 60 - len(lost_items)
    lost.items.clear()
    monkeypatch.undo()
    of_the_others = await cluster.fanout.search(search, soon())
    np.testing.assert_array_equal(hits.ids, of_the_others.ids)
    assert hits.unmet == of_the_others.unmet
