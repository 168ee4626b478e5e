"""Explanations: score and rank are those of brute force, and each reason is the true one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import oracle
from tests.pieces import floats
from tests.query.cores import NAME, WAIT_S, Cores, CoreShard, cores

from fanlight import field
from fanlight.errors import DeadlineExceeded, InvalidRequest, NotReady
from fanlight.examples import examples
from fanlight.filters import FieldType
from fanlight.inputs import as_payload_blobs
from fanlight.limits import Limits
from fanlight.model import (
    Explanation,
    Hits,
    IdColumn,
    IdType,
    ItemBatch,
    Items,
    Metric,
    SearchRequest,
)
from fanlight.placement import shard_name, shards_of
from fanlight.queries import Cap, Exclusions, Slate
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline
from fanlight_router.fanout import Fanout
from fanlight_router.items import PlacedItems
from fanlight_server.collection import Collection
from fanlight_server.index import standing

DIM, N, K = 6, 150, 10
LIMITS = Limits()
IDS, VECTORS, QUERY = np.arange(N, dtype=np.int64), floats(4, N, DIM), floats(5, 1, DIM)
PAYLOADS: list[dict[str, Any]] = [{"n": i, "seller": f"s{i % 4}"} for i in range(N)]
SCORES = oracle.scores(Metric.COSINE, QUERY[0], VECTORS)
RANKED = sorted(range(N), key=lambda i: (-SCORES[i], i))


def explained(cores: Cores, item: int, **more: Any) -> Explanation:
    request = SearchRequest(NAME, QUERY, K, exact=True, **more)
    return ask(cores, request, item)


def ask(cores: Cores, request: SearchRequest, item: int) -> Explanation:
    id_ = np.array([item], dtype=np.int64)
    if len(cores.collections) == 1:
        return cores.collections[0].explain(request, id_, None)
    answer: Explanation = cores.fan(lambda f, d: f.explain(request, id_, d))
    return answer


@pytest.mark.parametrize("shards", [1, 3])
def test_an_item_is_explained(tmp_path: Path, shards: int) -> None:
    """Score, ranks, place and the outcome of each part, for items near and far, found and not."""
    fields = {"n": FieldType.INT}
    with cores(tmp_path, shards, dim=DIM, filterable=fields) as opened:
        opened.put(IDS, VECTORS, PAYLOADS)
        for place in (0, K - 1, K, N - 1):
            item = RANKED[place]
            got = explained(opened, item)
            assert got.exists
            assert np.float32(got.score) == SCORES[item]
            assert got.rank == got.rank_allowed == place + 1
            assert got.place == (place if place < K else None)
            assert np.float32(got.last_score) == SCORES[RANKED[K - 1]]
            assert got.seq > 0
            if shards > 1:
                assert got.shard == shard_name(int(shards_of(IDS[item : item + 1], shards)[0]))
        _check_parts(opened)
        nothing = explained(opened, N + 1)
        assert (nothing.exists, nothing.place) == (False, None)


def test_a_rule_that_cannot_be_judged_is_no_explanation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the item's own shard gives no payload, the failure is told, and not that nothing is."""
    slate, get = Slate(caps=[Cap("seller", 1)]), CoreShard.get
    with cores(tmp_path, 3, dim=DIM) as opened:
        opened.put(IDS, VECTORS, PAYLOADS)
        capped = next(i for i in RANKED if PAYLOADS[i]["seller"] == "s1" and i != _first_of("s1"))
        own = opened.collections[int(shards_of(IDS[capped : capped + 1], 3)[0])]

        async def fails(shard: CoreShard, *asked: Any) -> Items:
            if shard.collection is own:
                raise NotReady("cannot be reached")
            return await get(shard, *asked)

        monkeypatch.setattr(CoreShard, "get", fails)
        with pytest.raises(NotReady, match="cannot be reached"):
            explained(opened, capped, slate=slate, min_coverage=0.5)


def _check_parts(opened: Cores) -> None:
    first, second = RANKED[:2]
    excluded = np.array([first], dtype=np.int64)
    for shard, collection in enumerate(opened.collections):
        if shards_of(excluded, len(opened.collections))[0] == shard:
            collection.sets.append("seen", excluded).result(WAIT_S)
    got = explained(
        opened,
        first,
        filter=(field("n") < N) & (field("n") != first),
        exclude=Exclusions(excluded, ("seen", "empty")),
    )
    assert {o.rule.split(":")[0].split(" ")[0]: o.passes for o in got.outcomes[2:]} == {
        "exclude_ids": False,
        "set": True,
    }
    assert [o.passes for o in got.outcomes] == [True, False, False, False, True]
    assert (got.rank, got.rank_allowed, got.place) == (1, 1, None)
    other = explained(opened, second, exclude=Exclusions(excluded))
    assert (other.rank, other.rank_allowed, other.place) == (2, 1, 0)
    capped = next(i for i in RANKED if PAYLOADS[i]["seller"] == "s1" and i != _first_of("s1"))
    rule = explained(opened, capped, slate=Slate(caps=[Cap("seller", 1)]))
    assert rule.place is None
    assert [o.passes for o in rule.outcomes if o.rule.startswith("cap")] == [False]
    request = SearchRequest(NAME, None, K, exact=True, composed=(examples([first]),))
    example = ask(opened, request, first)
    assert [o.passes for o in example.outcomes if o.rule == "example"] == [False]
    assert example.place is None


def _first_of(seller: str) -> int:
    return next(i for i in RANKED if PAYLOADS[i]["seller"] == seller)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_near_duplicate_is_explained(tmp_path: Path, shards: int) -> None:
    """What is too like a better hit is kept out by that rule; the better one is not."""
    vectors = VECTORS.copy()
    first, copy, other = RANKED[0], RANKED[20], RANKED[1]
    vectors[copy] = VECTORS[first] * 1.01
    vectors[copy, 0] += 0.001
    slate = Slate(near_duplicate=0.999)
    with cores(tmp_path, shards, dim=DIM) as opened:
        opened.put(IDS, vectors)
        hits = opened.search(SearchRequest(NAME, QUERY, K, exact=True, slate=slate))
        better, worse = (first, copy) if first in hits.ids else (copy, first)
        assert worse not in hits.ids
        got = explained(opened, worse, slate=slate)
        assert got.place is None
        assert got.rank <= 2
        rules = [o.rule.split(":")[0] for o in got.outcomes]
        assert (rules, [o.passes for o in got.outcomes]) == (["near_duplicate"], [False])
        for item in (better, other):
            got = explained(opened, item, slate=slate)
            assert got.place is not None
            assert all(o.passes for o in got.outcomes)
        far = explained(opened, RANKED[-1], slate=slate)
        assert far.place is None
        assert [o.passes for o in far.outcomes] == [True]


@pytest.mark.parametrize("shards", [1, 3])
def test_items_of_segments_are_explained(tmp_path: Path, shards: int) -> None:
    """The segment named is a file of that shard, and ranks count what lies anywhere and lives."""
    fields = {"n": FieldType.INT}
    replaced, deleted = RANKED[3], RANKED[5]
    with cores(tmp_path, shards, dim=DIM, filterable=fields) as opened:
        before = VECTORS.copy()
        before[replaced] = VECTORS[deleted]
        opened.put(IDS, before, PAYLOADS)
        opened.seal()
        assert set(opened.segments) == {1}
        one = slice(replaced, replaced + 1)
        opened.put(IDS[one], VECTORS[one], PAYLOADS[one])
        opened.delete(IDS[deleted : deleted + 1])
        ranked = [i for i in RANKED if i != deleted]
        for place in (0, 3, 5, K, N - 2):
            item = ranked[place]
            got = explained(opened, item)
            assert got.exists
            assert np.float32(got.score) == SCORES[item]
            assert got.rank == got.rank_allowed == place + 1
            assert got.place == (place if place < K else None)
            shard = int(shards_of(IDS[item : item + 1], shards)[0])
            files = {path.name for path in tmp_path.glob(f"{shards}-{shard}/segments/*")}
            assert len(files) == 1
            assert {got.segment} == ({""} if item == replaced else files)
        assert not explained(opened, deleted).exists
        _check_parts_of(opened, ranked)


def _check_parts_of(opened: Cores, ranked: list[int]) -> None:
    """Hold a filter and exclusions over a segment to what they say."""
    first, second, third = ranked[:3]
    exclude = Exclusions(np.array([first], dtype=np.int64))
    got = explained(opened, second, filter=field("n") != third, exclude=exclude)
    assert [o.passes for o in got.outcomes] == [True, True]
    assert (got.rank, got.rank_allowed, got.place) == (2, 1, 0)
    got = explained(opened, first, exclude=exclude)
    assert [o.passes for o in got.outcomes] == [False]
    assert (got.rank, got.rank_allowed, got.place) == (1, 1, None)


class RouterShard(CoreShard):
    """A router as the fan-out of a router over it sees a shard."""

    def __init__(self, leaves: Sequence[Collection]) -> None:
        super().__init__(leaves[0])
        known, shards = KnownItems(), [CoreShard(leaf) for leaf in leaves]
        self._fanout = Fanout(shards, PlacedItems(shards, known, LIMITS), known, LIMITS)

    async def search(self, request: SearchRequest, timeout_s: float) -> Hits:
        return await self._fanout.search(request, Deadline.of_call(timeout_s, timeout_s))

    async def explain(
        self, request: SearchRequest, id_: IdColumn, score: float | None, timeout_s: float
    ) -> Explanation:
        deadline = Deadline.of_call(timeout_s, timeout_s)
        return await self._fanout.explain(request, id_, deadline, score)


def test_ranks_are_true_through_routers_over_routers(tmp_path: Path) -> None:
    """An item of one router is ranked among those of all others, filter and all."""
    outer, inner = 2, 3
    filter = field("n") >= N // 2
    with cores(tmp_path, outer * inner, dim=DIM, filterable={"n": FieldType.INT}) as opened:
        leaves = opened.collections
        leaf_of = shards_of(IDS, outer) * inner + shards_of(IDS, inner)
        batch = ItemBatch(IDS, VECTORS, as_payload_blobs(PAYLOADS))
        for leaf in set(leaf_of.tolist()):
            leaves[leaf].upsert(batch.take(np.flatnonzero(leaf_of == leaf))).result(WAIT_S)
        assert all(any(leaf.count() for leaf in leaves[i : i + inner]) for i in (0, inner))
        routers = [RouterShard(leaves[i : i + inner]) for i in (0, inner)]
        known = KnownItems()
        fanout = Fanout(routers, PlacedItems(routers, known, LIMITS), known, LIMITS)
        request = SearchRequest(NAME, QUERY, K, exact=True, filter=filter)
        for place in (0, K, N // 2, N - 1):
            id_ = IDS[RANKED[place] : RANKED[place] + 1]
            deadline = Deadline.of_call(None, WAIT_S)
            got = asyncio.run(fanout.explain(request, id_, deadline))
            allowed = sum(item >= N // 2 for item in RANKED[:place])
            assert (got.exists, got.rank, got.rank_allowed) == (True, place + 1, allowed + 1)
            assert np.float32(got.score) == SCORES[RANKED[place]]


@pytest.mark.parametrize("shards", [1, 3])
def test_a_score_is_ranked_for_one_vector_only(tmp_path: Path, shards: int) -> None:
    """What is no such question is the caller's mistake, and says which part of it."""
    by_id = SearchRequest(NAME, None, K, ids=IDS[:1])
    composed = SearchRequest(NAME, None, K, composed=(examples([1]),))
    several = SearchRequest(NAME, VECTORS[:2], K)
    with cores(tmp_path, shards, dim=DIM) as opened:
        opened.put(IDS, VECTORS)
        for request in (by_id, composed, several):
            with pytest.raises(InvalidRequest) as refused:
                scored(opened, request, 0.5)
            assert refused.value.field == "queries"
        with pytest.raises(InvalidRequest) as refused:
            scored(opened, SearchRequest(NAME, QUERY, K), float("nan"))
        assert refused.value.field == "score"
        with pytest.raises(InvalidRequest) as refused:
            scored(opened, SearchRequest(NAME, np.full_like(QUERY, np.nan), K), 0.5)
        assert refused.value.field == "vectors"
        middle = float(SCORES[RANKED[70]])
        got = scored(opened, SearchRequest(NAME, QUERY, K), middle)
        assert (got.exists, got.rank, got.rank_allowed) == (False, 72, 72)


def scored(cores: Cores, request: SearchRequest, score: float) -> Explanation:
    """Ask how an item that is elsewhere, and comes after all others of its score, stands here."""
    id_ = np.array([N + 1], dtype=np.int64)
    if len(cores.collections) == 1:
        return cores.collections[0].explain(request, id_, score)
    answer: Explanation = cores.fan(lambda f, d: f.explain(request, id_, d, score))
    return answer


@pytest.mark.parametrize("id_type", IdType)
def test_ranks_are_those_of_brute_force_however_deep(
    tmp_path: Path, id_type: IdType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among equal scores, dead rows and several parts, and wherever a piece of rows ends."""
    monkeypatch.setattr(standing, "_ROWS", 16)
    ids = IDS if id_type is IdType.INT64 else np.array([f"item-{i}" for i in range(N)], object)
    vectors = np.random.default_rng(6).integers(1, 3, (N, DIM)).astype(np.float32)
    scores = oracle.scores(Metric.COSINE, QUERY[0], vectors)
    names = ids.tolist()
    left = [i for i in range(N) if i % 7]
    ranked = sorted(left, key=lambda i: (-scores[i], names[i]))
    filter = field("n") >= N // 2
    with cores(tmp_path, 1, dim=DIM, id_type=id_type, filterable={"n": FieldType.INT}) as opened:
        collection = opened.collections[0]
        opened.put(ids[: N // 3], vectors[: N // 3], PAYLOADS[: N // 3])
        collection._index.seal(1)
        opened.put(ids[N // 3 :], vectors[N // 3 :], PAYLOADS[N // 3 :])
        collection.delete(ids[::7]).result(WAIT_S)
        excluded = Exclusions(ids[1::9])
        request = SearchRequest(NAME, QUERY, K, exact=True, filter=filter, exclude=excluded)
        for place, item in enumerate(ranked):
            got = collection.explain(request, ids[item : item + 1], None)
            allowed = sum(i >= N // 2 and i % 9 != 1 for i in ranked[:place])
            assert (got.rank, got.rank_allowed) == (place + 1, allowed + 1)
            assert np.float32(got.score) == scores[item]


def test_an_explanation_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it began and in the middle of it; with time enough it is given."""
    monkeypatch.setattr(standing, "_ROWS", 16)
    clock = itertools.count()  # a second at each look
    with cores(tmp_path, 1, dim=DIM, now=lambda: float(next(clock))) as opened:
        opened.put(IDS, VECTORS)
        collection, request = opened.collections[0], SearchRequest(NAME, QUERY, K, exact=True)
        for seconds in (0.0, 5.0):
            with pytest.raises(DeadlineExceeded):
                collection.explain(request, IDS[RANKED[-1] :][:1], None, timeout_s=seconds)
            with pytest.raises(DeadlineExceeded):
                collection.explain(request, IDS[:1] + N, 0.5, timeout_s=seconds)
        got = collection.explain(request, IDS[RANKED[-1] :][:1], None, timeout_s=1e6)
        assert got.rank == N
