"""Explanations: score and rank are those of brute force, and each reason is the true one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import oracle
from tests.pieces import floats
from tests.query.cores import NAME, WAIT_S, Cores, CoreShard, cores

from fanlight import field
from fanlight.errors import NotReady
from fanlight.examples import examples
from fanlight.filters import FieldType
from fanlight.model import Explanation, Items, Metric, SearchRequest
from fanlight.placement import shard_name, shards_of
from fanlight.queries import Cap, Exclusions, Slate

DIM, N, K = 6, 150, 10
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
