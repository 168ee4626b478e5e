"""The fan-out: one answer from many shards, whatever some of them do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest
from tests import oracle
from tests.unit.fake_shards import (
    COLLECTION,
    DIM,
    coarse_vectors,
    filled,
    ids_of,
    soon,
)
from tests.unit.fanout_pieces import UNREACHABLE, expected, request, top

from fanlight.errors import (
    AlreadyExists,
    Corruption,
    DeadlineExceeded,
    FanlightError,
    InternalError,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    PartialResult,
    WrongShard,
)
from fanlight.ids import joined
from fanlight.limits import Limits
from fanlight.model import Coverage, IdType, Metric, ShardFailure
from fanlight.queries import Exclusions
from fanlight.topk import TopK
from fanlight_router import fanout as fanout_module
from fanlight_router.gather import named

WaitUntil = Callable[..., Awaitable[None]]


# --- merging ----------------------------------------------------------------------------------


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("shards", [1, 3, 8])
@pytest.mark.parametrize("k", [1, 7, 200])
async def test_hits_equal_a_search_of_everything(id_type: IdType, shards: int, k: int) -> None:
    """The merged hits are those of one big shard: same ids, same scores, ties by id."""
    cluster = await filled(shards, id_type=id_type)
    search = request(k=k)
    hits = await cluster.fanout.search(search, soon())
    oracle.assert_equal(top(hits), expected(cluster, search))
    assert hits.ids.shape == (5, k)
    assert hits.coverage == Coverage(shards, shards, items_total=60, items_covered=60)


async def test_many_hits_are_merged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers too large for the event loop are the same as small ones."""
    monkeypatch.setattr(fanout_module, "_HITS_ON_LOOP", 0)
    cluster, search = await filled(), request()
    hits = await cluster.fanout.search(search, soon())
    oracle.assert_equal(top(hits), expected(cluster, search))


async def test_the_order_of_answers_does_not_matter(wait_until_async: WaitUntil) -> None:
    """The hits are the same whichever shard answers first."""
    cluster, search = await filled(), request()
    for first in range(3):
        for shard in cluster.shards:
            shard.gate.clear()
        asking = asyncio.create_task(cluster.fanout.search(search, soon()))
        await wait_until_async(lambda: all(shard.asked for shard in cluster.shards))
        for i in range(3):
            cluster.shards[(first + i) % 3].gate.set()
            await asyncio.sleep(0)
        oracle.assert_equal(top(await asking), expected(cluster, search))


async def test_a_query_that_fails_loses_no_other() -> None:
    """A query that shards refuse has an error and no hits; its neighbours have theirs."""
    cluster = await filled()
    vectors = coarse_vectors(2, 5)
    vectors[2] = np.nan
    hits = await cluster.fanout.search(request(vectors=vectors), soon())
    assert list(hits.errors) == [2]
    assert isinstance(hits.errors[2], InvalidRequest)
    assert hits.counts.tolist() == [7, 7, 0, 7, 7]
    good = [0, 1, 3, 4]
    oracle.assert_equal(
        TopK(hits.ids[good], hits.scores[good], hits.counts[good]),
        expected(cluster, request(vectors=vectors[good])),
    )


async def test_a_query_that_fails_on_one_shard_has_no_hits_of_the_others() -> None:
    """Half an answer to a query is none: where one shard refused it, its hits are taken away."""
    cluster = await filled()
    cluster.shards[1].twist = lambda hits: replace(hits, errors={0: Corruption("bad page")})
    hits = await cluster.fanout.search(request(n=2), soon())
    assert hits.counts.tolist() == [0, 7]
    assert (hits.ids[0] == -1).all()
    assert np.isnan(hits.scores[0]).all()
    assert isinstance(hits.errors[0], Corruption)


@pytest.mark.parametrize("id_type", list(IdType))
async def test_a_shard_that_is_asked_again_excludes_the_same(id_type: IdType) -> None:
    """Its share was too small, and what it has to exclude is split by shard: both together."""
    cluster = await filled(3, 3_000, id_type)
    full = cluster.shards[0]
    # what one shard has is better than all else, for the first query and not for the second
    for shard in cluster.shards[1:]:
        for name, (vector, payload) in shard.items.items():
            shard.items[name] = (vector - np.float32(9), payload)
    vectors = np.stack([np.ones(DIM), -np.ones(DIM)]).astype(np.float32)
    ids = np.random.default_rng(4).permutation(ids_of(range(1_600), id_type))
    unknown = ids_of(range(9_000, 109_000), id_type)
    excluded = joined([ids, unknown])
    search = request(vectors=vectors, k=400, exclude=Exclusions(excluded))
    hits = await cluster.fanout.search(search, soon())
    asked = [len(shard.widths) for shard in cluster.shards]
    assert asked[0] == 2
    (n, share), again = full.widths[0], full.widths[1]
    assert n == 2
    assert share < 400
    assert again == (1, 400)
    # split, and the same both times
    assert full.excluded[0] == full.excluded[1] < len(excluded)
    assert sum(shard.excluded[0] for shard in cluster.shards) == len(excluded)
    gone = set(excluded.tolist())
    kept = [row for row, name in enumerate(cluster.ids.tolist()) if name not in gone]
    best = oracle.best(Metric.DOT, vectors, cluster.ids[kept], cluster.vectors[kept], 400)
    oracle.assert_equal(top(hits), best)
    assert hits.excluded == len(ids)


# --- failing shards ---------------------------------------------------------------------------


async def test_by_default_every_shard_must_answer() -> None:
    """One shard less is a PartialResult that names the shard, the reason and the coverage."""
    cluster = await filled()
    await cluster.fanout.search(request(), soon())
    cluster.shards[1].fault = NotReady("cannot be reached")
    with pytest.raises(PartialResult, match=r"2 of 3 shards.*shard-1: cannot be reached") as caught:
        await cluster.fanout.search(request(), soon())
    coverage = caught.value.coverage
    assert coverage is not None
    lost = len(cluster.shards[1].items)
    assert (coverage.shards_total, coverage.shards_answered) == (3, 2)
    assert (coverage.items_total, coverage.items_covered) == (60, 60 - lost)
    assert coverage.failures == (ShardFailure("shard-1", cluster.shards[1].fault),)


async def test_partial_answers_come_on_demand() -> None:
    """With a lower min_coverage the hits are those of the shards that answer, and say so."""
    cluster = await filled()
    cluster.shards[2].fault = NotReady("cannot be reached")
    hits = await cluster.fanout.search(request(min_coverage=0.5), soon())
    assert not hits.coverage.complete
    cluster.shards[2].items.clear()
    oracle.assert_equal(top(hits), expected(cluster, request()))


@pytest.mark.parametrize(
    ("shards", "failing", "min_coverage", "is_enough"),
    [
        (3, 0, 1.0, True),
        (3, 1, 1.0, False),
        (3, 1, 0.66, True),
        (3, 1, 2 / 3, True),
        (3, 1, 0.67, False),
        (3, 2, 0.5, False),
        (3, 2, 0.33, True),
        (3, 2, 0.0, True),
        (3, 3, 0.0, False),
        (25, 18, 0.28, True),
        (25, 19, 0.28, False),
        (1, 0, 0.0, True),
        (1, 1, 0.0, False),
    ],
)
async def test_coverage_policy(
    shards: int, failing: int, min_coverage: float, is_enough: bool
) -> None:
    """At least ceil(min_coverage x shards), and always one shard, must answer; same for count."""
    cluster = await filled(shards)
    for shard in cluster.shards[:failing]:
        shard.fault = NotReady("cannot be reached")
    left = sum(len(shard.items) for shard in cluster.shards[failing:])
    if not is_enough:
        with pytest.raises(PartialResult):
            await cluster.fanout.search(request(min_coverage=min_coverage), soon())
        with pytest.raises(PartialResult):
            await cluster.fanout.count(COLLECTION, min_coverage, soon())
        return
    hits = await cluster.fanout.search(request(min_coverage=min_coverage), soon())
    assert hits.coverage.shards_answered == shards - failing
    count, coverage = await cluster.fanout.count(COLLECTION, min_coverage, soon())
    assert (count, coverage.items_covered) == (left, left)


async def test_a_shard_that_hangs_costs_at_most_the_deadline() -> None:
    """The others' hits come at the deadline, the late shard is named, its call is cancelled."""
    cluster = await filled()
    cluster.shards[0].gate.clear()
    started = time.monotonic()
    hits = await cluster.fanout.search(request(min_coverage=0.5), soon(0.05))
    assert time.monotonic() - started < 5
    (failure,) = hits.coverage.failures
    assert failure.shard == "shard-0"
    assert isinstance(failure.error, DeadlineExceeded)
    await asyncio.sleep(0)
    assert cluster.shards[0].cancelled == 1


async def test_a_shard_that_is_slow_but_in_time_counts(wait_until_async: WaitUntil) -> None:
    """An answer within the deadline is waited for."""
    cluster = await filled()
    cluster.shards[0].gate.clear()
    asking = asyncio.create_task(cluster.fanout.search(request(min_coverage=0.0), soon()))
    await wait_until_async(lambda: cluster.shards[0].asked)
    cluster.shards[0].gate.set()
    assert (await asking).coverage.complete


async def test_shards_are_not_asked_for_a_caller_who_has_gone(wait_until_async: WaitUntil) -> None:
    """A caller that gives up cancels what runs for him; a deadline that passed starts nothing."""
    cluster = await filled()
    for shard in cluster.shards:
        shard.gate.clear()
    asking = asyncio.create_task(cluster.fanout.search(request(), soon()))
    await wait_until_async(lambda: cluster.asked("search") == [1, 1, 1])
    asking.cancel()
    await wait_until_async(lambda: [s.cancelled for s in cluster.shards] == [1, 1, 1])
    with pytest.raises(DeadlineExceeded):
        await cluster.fanout.search(request(), soon(-1))
    assert cluster.asked("search") == [1, 1, 1]


MISSING = NotFound("there is none")
INVALID = InvalidRequest("k: too large")
BUSY = Overloaded("too many calls")
FULL = Overloaded("a full queue", field="queue_s", retry_after_s=5.0)


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        ((MISSING, MISSING, MISSING), NotFound),
        ((INVALID, INVALID, INVALID), InvalidRequest),
        ((MISSING, UNREACHABLE, UNREACHABLE), NotFound),
        ((UNREACHABLE, INVALID, DeadlineExceeded("late")), InvalidRequest),
        ((MISSING, None, None), PartialResult),
        ((MISSING, INVALID, MISSING), PartialResult),
        ((BUSY, BUSY, BUSY), Overloaded),
        ((BUSY, UNREACHABLE, BUSY), PartialResult),
        ((FULL, None, None), Overloaded),
        ((None, FULL, UNREACHABLE), Overloaded),
        ((UNREACHABLE, UNREACHABLE, UNREACHABLE), PartialResult),
        ((WrongShard("other"), WrongShard("other"), WrongShard("other")), PartialResult),
        ((InternalError("bug"), None, None), PartialResult),
    ],
)
async def test_whose_fault_it_is(
    faults: tuple[FanlightError | None, ...], outcome: type[FanlightError]
) -> None:
    """What all shards that judge a request hold against it is the caller's; all else is theirs."""
    cluster = await filled()
    for shard, fault in zip(cluster.shards, faults, strict=True):
        shard.fault = fault
    with pytest.raises(FanlightError) as caught:
        await cluster.fanout.search(request(), soon())
    assert type(caught.value) is outcome


async def test_a_fault_of_one_shard_is_a_gap_when_another_answers() -> None:
    """A collection that one shard does not have yet is missing from the coverage, no more."""
    cluster = await filled()
    cluster.shards[0].fault = MISSING
    hits = await cluster.fanout.search(request(min_coverage=0.5), soon())
    assert hits.coverage.failures == (ShardFailure("shard-0", MISSING),)


async def test_a_bug_is_not_taken_for_a_failing_shard() -> None:
    """An exception that is none of Fanlight's reaches the log, not the coverage."""
    cluster = await filled()
    cluster.shards[0].fault = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await cluster.fanout.search(request(min_coverage=0.0), soon())


# --- what is covered --------------------------------------------------------------------------


async def test_the_total_is_unknown_when_a_failed_shard_was_never_seen() -> None:
    """No number is made up for a shard that nothing is known of."""
    cluster = await filled()
    cluster.shards[0].fault = UNREACHABLE
    hits = await cluster.fanout.search(request(min_coverage=0.5), soon())
    assert hits.coverage.items_total is None
    assert hits.coverage.items_covered == 60 - len(cluster.shards[0].items)


async def test_the_total_counts_a_failed_shard_as_last_seen() -> None:
    """Every answer refreshes what is known of a shard's items; a look at the shard does too."""
    cluster = await filled()
    await cluster.fanout.count(COLLECTION, 1.0, soon())
    cluster.shards[0].fault = UNREACHABLE
    hits = await cluster.fanout.search(request(min_coverage=0.5), soon())
    assert hits.coverage.items_total == 60
    cluster.known.see(0, {COLLECTION: 1_000})
    hits = await cluster.fanout.search(request(min_coverage=0.5), soon())
    assert hits.coverage.items_total == 1_000 + hits.coverage.items_covered
    cluster.known.see(0, {})
    hits = await cluster.fanout.search(request(min_coverage=0.5), soon())
    assert hits.coverage.items_total is None


async def test_a_router_may_stand_where_a_shard_could() -> None:
    """What a partial answer below lacks shows in the coverage above."""
    cluster = await filled()
    below = Coverage(4, 3, 100, 80, (ShardFailure("shard-2", UNREACHABLE),))
    cluster.shards[1].twist = lambda hits: replace(hits, coverage=below)
    coverage = (await cluster.fanout.search(request(), soon())).coverage
    beside = 60 - len(cluster.shards[1].items)
    assert coverage == Coverage(
        6, 5, beside + 100, beside + 80, (ShardFailure("shard-1/shard-2", UNREACHABLE),)
    )


# --- queries by id, payloads and vectors ------------------------------------------------------


@pytest.mark.parametrize("id_type", list(IdType))
async def test_a_query_by_id_searches_with_the_stored_vector(id_type: IdType) -> None:
    """The hits are those of the item's vector, without the item itself; k of them."""
    cluster = await filled(id_type=id_type)
    asked = ids_of([3, 41, 7], id_type)
    by_id = request(vectors=None, ids=asked)
    hits = await cluster.fanout.search(by_id, soon())
    stored = {name: item for s in cluster.shards for name, (item, _) in s.items.items()}
    for row, name in enumerate(asked.tolist()):
        others = [i for i, other in enumerate(cluster.ids.tolist()) if other != name]
        best = oracle.best(
            Metric.DOT, stored[name][None], cluster.ids[others], cluster.vectors[others], 7
        )
        one = slice(row, row + 1)
        oracle.assert_equal(TopK(hits.ids[one], hits.scores[one], hits.counts[one]), best)


async def test_a_query_for_an_unknown_id_fails_alone() -> None:
    """It gets NotFound; the other queries get their hits."""
    cluster = await filled()
    hits = await cluster.fanout.search(request(vectors=None, ids=np.array([3, 999])), soon())
    assert {row: type(error) for row, error in hits.errors.items()} == {1: NotFound}
    assert hits.counts.tolist() == [7, 0]


async def test_a_query_whose_own_shard_fails_fails_alone_when_that_is_allowed() -> None:
    """With a low min_coverage the error of the owner stands at the query, not NotFound."""
    cluster = await filled()
    down = cluster.owner(3)
    other = next(i for i in range(60) if cluster.owner(i) is not down)
    down.fault = UNREACHABLE
    by_id = request(vectors=None, ids=np.array([3, other]), min_coverage=0.5)
    hits = await cluster.fanout.search(by_id, soon())
    assert type(hits.errors[0]) is NotReady
    assert hits.counts.tolist() == [0, 7]
    with pytest.raises(PartialResult, match=f"shard-{cluster.shards.index(down)}"):
        await cluster.fanout.search(request(vectors=None, ids=np.array([3, other])), soon())


async def test_a_query_by_id_leaves_room_for_the_item_itself() -> None:
    """The largest k is one less for queries by id, and the error says so."""
    cluster = await filled(limits=Limits(k=10))
    await cluster.fanout.search(request(k=10), soon())
    with pytest.raises(InvalidRequest, match="k: expected 1 to 9, got 10"):
        await cluster.fanout.search(request(k=10, vectors=None, ids=np.array([3])), soon())


@pytest.mark.parametrize("id_type", list(IdType))
async def test_payloads_and_vectors_are_those_of_the_hits(id_type: IdType) -> None:
    """Each hit comes with what was stored; every item is read once, and only winners are."""
    cluster = await filled(id_type=id_type)
    search = request(with_payloads=True, with_vectors=True)
    hits = await cluster.fanout.search(search, soon())
    oracle.assert_equal(top(hits), expected(cluster, search))
    stored = {name: item for s in cluster.shards for name, item in s.items.items()}
    assert hits.payload_blobs == [stored[name][1] for name in hits.ids.ravel().tolist()]
    assert hits.vectors is not None
    np.testing.assert_array_equal(
        hits.vectors.reshape(-1, DIM), [stored[name][0] for name in hits.ids.ravel().tolist()]
    )
    assert max(cluster.asked("get")) == 1


async def test_columns_of_no_hits_are_empty() -> None:
    """Payloads and vectors of an answer without hits have its shape."""
    cluster = await filled(rows=1)
    await cluster.placed.delete(COLLECTION, np.array([0]), soon())
    search = request(n=2, k=3, with_payloads=True, with_vectors=True)
    hits = await cluster.fanout.search(search, soon())
    assert hits.payloads == [[], []]
    assert hits.vectors is not None
    assert hits.vectors.shape == (2, 3, DIM)


async def test_columns_that_do_not_fit_a_message_are_refused() -> None:
    """Reading stops with a clear error once the columns of the hits outgrow a message."""
    limits = Limits(message_bytes=65_536, payload_bytes=40_000)
    cluster = await filled(rows=30, limits=limits)
    for shard in cluster.shards:
        for name, (vector, _) in shard.items.items():
            shard.items[name] = (vector, b"x" * 40_000)
    with pytest.raises(Overloaded, match="do not fit"):
        await cluster.fanout.search(request(n=1, k=30, with_payloads=True), soon())
    assert sum(cluster.asked("get")) < 4


async def test_parameters_are_judged_before_any_shard_is_asked() -> None:
    """k, the size of the batch and min_coverage need no shard to be refused."""
    cluster = await filled()
    for wrong in (request(k=0), request(n=0), request(min_coverage=1.5)):
        with pytest.raises(InvalidRequest):
            await cluster.fanout.search(wrong, soon())
    with pytest.raises(InvalidRequest, match="min_coverage"):
        await cluster.fanout.count(COLLECTION, float("nan"), soon())
    assert cluster.asked("search") + cluster.asked("count") == [0] * 6


def test_errors_keep_their_kind_when_they_are_named() -> None:
    """The name of a shard before an error's text leaves class, field and coverage as they were."""
    coverage = Coverage(1, 0, None, 0)
    error = named(4, PartialResult("too few", coverage=coverage))
    assert isinstance(error, PartialResult)
    assert (str(error), error.coverage) == ("shard-4: too few", coverage)
    other = named(4, AlreadyExists("is there", field="dim"))
    assert (type(other), other.field) == (AlreadyExists, "dim")


async def test_one_full_shard_ends_the_search_and_holds_back_the_next(
    wait_until_async: WaitUntil,
) -> None:
    """The other shards are told to stop, and get no more of what they would do in vain."""
    cluster = await filled()
    cluster.shards[1].fault = FULL
    for shard in (cluster.shards[0], cluster.shards[2]):
        shard.gate.clear()
    with pytest.raises(Overloaded, match="shard-1"):
        await cluster.fanout.search(request(), soon())
    await wait_until_async(lambda: [s.cancelled for s in cluster.shards] == [1, 0, 1])
    with pytest.raises(Overloaded, match="shard-1"):
        await cluster.fanout.search(request(), soon())
    assert cluster.asked("search") == [1, 1, 1], "nothing was sent"
