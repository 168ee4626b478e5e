"""Exclusions are exact: nothing excluded is found, nothing else is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import oracle
from tests.pieces import floats, ids_of
from tests.query.cores import NAME, WAIT_S, Cores, cores

from fanlight import field
from fanlight.errors import InvalidRequest
from fanlight.filters import FieldType
from fanlight.ids import joined
from fanlight.limits import Limits
from fanlight.model import Floats, Hits, IdColumn, IdType, Metric, Rows, SearchRequest
from fanlight.placement import shards_of
from fanlight.queries import Exclusions
from fanlight.topk import TopK
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig

DIM, N, K = 6, 600, 12
VECTORS, QUERIES = floats(5, N, DIM), floats(6, 4, DIM)
STATES = ("head", "sealed", "changed", "merged")
# So many that graphs are walked, even among those that no exclusion leaves out.
WIDE, MANY = 512, 6_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def append(cores: Cores, name: str, ids: IdColumn, ttl_s: float | None = None) -> None:
    for collection, own in owned(cores, ids):
        collection.sets.append(name, own, ttl_s).result(WAIT_S)


def remove(cores: Cores, name: str, ids: IdColumn) -> None:
    for collection, own in owned(cores, ids):
        collection.sets.remove(name, own).result(WAIT_S)


def owned(cores: Cores, ids: IdColumn) -> Iterator[tuple[Collection, IdColumn]]:
    owners = shards_of(ids, len(cores.collections))
    for shard, collection in enumerate(cores.collections):
        own = ids[owners == shard]
        if len(own):
            yield collection, own


def fill(opened: Cores, state: str, ids: IdColumn) -> Rows:
    """Write the items, so that they lie where a state says; give the rows of those that live.

    "head": nowhere else; "sealed": in one segment a shard; "changed": in two and a head, where
    items of both segments have been replaced or deleted; "merged": the same, but the two are one.
    """
    live = np.ones(N, dtype=np.bool_)
    if state in ("head", "sealed"):
        opened.put(ids, VECTORS)
        if state == "sealed":
            opened.seal()
            assert set(opened.segments) == {1}
        return np.flatnonzero(live)
    before = VECTORS.copy()
    before[:90] = floats(7, 90, DIM)
    opened.put(ids[:560], before[:560])
    opened.seal()
    again = np.r_[20:50, 560:590]
    opened.put(ids[again], np.concatenate((VECTORS[20:50], before[560:590])))
    opened.delete(ids[95:115])
    opened.seal()
    assert set(opened.segments) == {2}
    if state == "merged":
        opened.merge()
        assert set(opened.segments) == {1}
    # items of the first segment, then of the second, then such as were deleted, then new ones
    last = np.r_[:20, 50:90, 560:575, 95:100, 590:N]
    opened.put(ids[last], VECTORS[last])
    gone = np.r_[115:120, 585:590]
    opened.delete(ids[gone])
    live[np.r_[100:115, gone]] = False
    return np.flatnonzero(live)


def asked(cores: Cores, exclude: Exclusions | None, k: int = K, **more: Any) -> Hits:
    return cores.search(SearchRequest(NAME, QUERIES, k, exact=True, exclude=exclude, **more))


def assert_without(
    hits: Hits, ids: IdColumn, excluded: set[Any], vectors: Floats = VECTORS
) -> None:
    """Hold hits to brute force over the live items that are not excluded."""
    kept = np.array([value not in excluded for value in ids.tolist()])
    k = hits.ids.shape[1]
    expected = oracle.best(Metric.COSINE, QUERIES, ids[kept], vectors[kept], k)
    oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), expected)
    assert hits.excluded == int(np.count_nonzero(~kept))


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("state", STATES)
def test_exclusions_are_exact(tmp_path: Path, state: str, shards: int, id_type: IdType) -> None:
    """Ids, known or not, and sets, known or not, leave out just their items; k stays k."""
    ids, rng = ids_of(range(N), id_type), np.random.default_rng(1)
    with cores(tmp_path, shards, dim=DIM, id_type=id_type) as opened:
        rows = fill(opened, state, ids)
        live, vectors = ids[rows], VECTORS[rows]
        assert asked(opened, None).excluded is None
        unknown = ids_of(range(5_000, 15_000), id_type)
        for n in (0, 1, 50, N - K, N - 3):
            chosen = ids[rng.permutation(N)[:n]]
            whole = joined([chosen, unknown])
            hits = asked(opened, Exclusions(whole))
            assert_without(hits, live, set(chosen.tolist()), vectors)
        append(opened, "seen", ids[:30])
        append(opened, "blocked", ids[25:40])
        exclude = Exclusions(ids[100:110], ("seen", "blocked", "never written"))
        gone = {*ids[:40].tolist(), *ids[100:110].tolist()}
        assert_without(asked(opened, exclude), live, gone, vectors)
        assert_without(asked(opened, exclude, k=N), live, gone, vectors)
        opened.put(unknown[:1], VECTORS[:1])
        late = asked(opened, Exclusions(unknown), k=N + 1)
        assert unknown[0] not in late.ids


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("shards", [1, 3])
def test_the_next_search_sees_an_append(tmp_path: Path, shards: int, id_type: IdType) -> None:
    """Over segments, again and again, though the set is as large as before or the very same."""
    ids = ids_of(range(N), id_type)
    others = ids_of(range(5_000, 15_000), id_type)
    with cores(tmp_path, shards, dim=DIM, id_type=id_type) as opened:
        opened.put(ids, VECTORS)
        opened.seal()
        append(opened, "seen", others)
        members: set[Any] = set()
        for first in range(0, 200, 20):
            new, old = ids[first : first + 20], ids[first - 10 : first]
            append(opened, "seen", new)
            remove(opened, "seen", joined([old, others[first : first + 20 - len(old)]]))
            members = (members | set(new.tolist())) - set(old.tolist())
            exclude = Exclusions(None, ("seen",))
            for _ in range(2):
                assert_without(asked(opened, exclude), ids, members)
                walked = opened.search(SearchRequest(NAME, QUERIES, K, exclude=exclude))
                assert members.isdisjoint(walked.ids.ravel().tolist())
                assert walked.counts.tolist() == [K] * len(QUERIES)
                assert walked.excluded == len(members)


@pytest.mark.parametrize("shards", [1, 3])
def test_walks_find_nothing_that_is_excluded(tmp_path: Path, shards: int) -> None:
    """A walk misses items, but finds none that it may not, and k as long as there are as many."""
    n, k = MANY * shards, 10
    ids, spread = np.arange(n, dtype=np.int64), floats(8, 16, WIDE)
    vectors, queries = floats(9, n, 16) @ spread, floats(10, 20, 16) @ spread
    index = IndexConfig(unindexed_bytes=1 << 30)
    best = np.argsort(-scores_of(queries, vectors), axis=1)
    with cores(tmp_path, shards, dim=WIDE, index=index, m=4) as opened:
        opened.put(ids, vectors)
        opened.seal()
        assert set(opened.segments) == {1}
        assert sum(c.info().unindexed_items for c in opened.collections) == 0
        append(opened, "seen", ids[best[:, 1:6].ravel()])
        opened.delete(ids[best[:, 0]])
        # the best of all queries, from ids and from a set, and any others
        for more in (ids[:0], ids[best[:, :25].ravel()], ids[::7]):
            gone = np.unique(np.concatenate((more, best[:, :6].ravel())))
            request = SearchRequest(
                NAME, queries, k, ef_search=k, exclude=Exclusions(more, ("seen",))
            )
            hits = opened.search(request)
            assert not np.isin(hits.ids, gone).any()
            assert hits.counts.tolist() == [k] * len(queries)
            assert all(len(set(row)) == k for row in hits.ids.tolist())
            # a scan would have found nearly all
            assert 0.1 < found_share(hits.ids, best, gone) < 0.9
        few = ids[best[0, 40:43]]
        rest = Exclusions(np.setdiff1d(ids, few))
        hits = opened.search(SearchRequest(NAME, queries, k, ef_search=k, exclude=rest))
        assert hits.counts.tolist() == [3] * len(queries)
        assert set(hits.ids[:, :3].ravel().tolist()) == set(few.tolist())


def scores_of(queries: Floats, vectors: Floats) -> Floats:
    """Give cosines, precise enough to tell who is about the best."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores: Floats = queries @ units.T
    return scores


def found_share(found: IdColumn, best: Rows, gone: IdColumn) -> float:
    """Tell which share of the best that are not excluded was found; ids are rows."""
    k, found_of = found.shape[1], 0
    for row, ranked in zip(found, best, strict=True):
        found_of += int(np.isin(ranked[~np.isin(ranked, gone)][:k], row).sum())
    return found_of / found.size


def test_exclusions_and_filters_compose(tmp_path: Path) -> None:
    """`excluded` counts, of what the filter accepts, what exclusions left out."""
    ids = ids_of(range(N), IdType.INT64)
    with cores(tmp_path, 3, dim=DIM, filterable={"n": FieldType.INT}) as opened:
        opened.put(ids, VECTORS, [{"n": i} for i in range(N)])
        hits = asked(opened, Exclusions(ids[50:80]), filter=field("n") < 60)
        assert hits.excluded == 10
        assert set(hits.ids.ravel().tolist()) <= set(range(50))


def test_members_leave_when_their_time_is_over(tmp_path: Path) -> None:
    """A member with a time to live excludes until then and not after, and a new one renews it."""
    ids, clock = ids_of(range(N), IdType.INT64), Clock()
    with cores(tmp_path, 1, dim=DIM, clock=clock) as opened:
        opened.put(ids, VECTORS)
        append(opened, "seen", ids[:10], ttl_s=60)
        append(opened, "seen", ids[10:20])
        append(opened, "seen", ids[:5], ttl_s=600)
        seen = Exclusions(None, ("seen",))
        clock.now += 59.9
        assert_without(asked(opened, seen), ids, set(range(20)))
        clock.now += 0.2
        assert_without(asked(opened, seen), ids, {*range(5), *range(10, 20)})
        sets = opened.collections[0].sets
        assert sets.expire("seen", 1.0).result(WAIT_S) == 15
        clock.now += 1.1
        assert_without(asked(opened, seen), ids, set())
        assert sets.members("seen").tolist() == []


@pytest.mark.parametrize("id_type", list(IdType))
def test_sets_survive_a_restart(tmp_path: Path, id_type: IdType) -> None:
    """What was acknowledged is there after a start, a removal as well as an append."""
    ids, clock = ids_of(range(N), id_type), Clock()
    spec: Any = {"dim": DIM, "id_type": id_type, "clock": clock}
    with cores(tmp_path, 1, **spec) as opened:
        sets = opened.collections[0].sets
        assert sets.append("a", ids[[3, 1, 2, 1]]).result(WAIT_S) == 3
        assert sets.append("b", ids[:4], 10).result(WAIT_S) == 4
        assert sets.remove("a", ids[1:2]).result(WAIT_S) == 2
        assert sets.append("c", ids[:4]).result(WAIT_S) == 4
        assert sets.delete("c").result(WAIT_S) == 0
    with cores(tmp_path, 1, create=False, **spec) as opened:
        sets = opened.collections[0].sets
        assert sorted(sets.members("a").tolist()) == sorted(ids[2:4].tolist())
        assert len(sets.members("b")) == 4
        assert len(sets.members("c")) == 0
        clock.now += 11
        assert len(sets.members("b")) == 0


def test_a_model_of_sets(tmp_path: Path) -> None:
    """A long run of random changes leaves what a dictionary holds, read afresh or from memory."""
    rng, clock = np.random.default_rng(11), Clock()
    model: dict[str, dict[int, float]] = {}
    with cores(tmp_path, 1, dim=DIM, clock=clock) as opened:
        sets = opened.collections[0].sets
        for _ in range(300):
            name, kind = f"s{rng.integers(3)}", rng.integers(5)
            ids = rng.integers(0, 40, rng.integers(1, 12))
            members = model.setdefault(name, {})
            clock.now += float(rng.integers(0, 3))
            live = {i: t for i, t in members.items() if t > clock.now}
            members.clear()
            members.update(live)
            if kind <= 1:
                ttl = float(rng.integers(1, 20)) if kind else None
                sets.append(name, ids, ttl).result(WAIT_S)
                members.update(dict.fromkeys(ids.tolist(), clock.now + ttl if ttl else np.inf))
            elif kind == 2:
                sets.remove(name, ids).result(WAIT_S)
                for i in ids.tolist():
                    members.pop(i, None)
            elif kind == 3:
                sets.expire(name, 5.0).result(WAIT_S)
                members.update(dict.fromkeys(members, clock.now + 5.0))
            elif rng.integers(4) == 0:
                sets.delete(name).result(WAIT_S)
                members.clear()
            for each, expected in model.items():
                now = sorted(i for i, t in expected.items() if t > clock.now)
                assert sets.members(each).tolist() == now


@pytest.mark.parametrize(
    ("name", "ids", "ttl_s"),
    [("", [1], None), ("x" * 257, [1], None), ("s", [], None), ("s", [1], 0.0), ("s", [1], -1.0)],
)
def test_what_no_set_can_be_is_refused(
    tmp_path: Path, name: str, ids: list[int], ttl_s: float | None
) -> None:
    """Names, empty batches and times are judged before anything is written."""
    with cores(tmp_path, 1, dim=DIM) as opened, pytest.raises(InvalidRequest):
        opened.collections[0].sets.append(name, np.array(ids, dtype=np.int64), ttl_s)


def test_a_set_has_a_limit(tmp_path: Path) -> None:
    """Past it the error names it, and members that are there may be appended again."""
    with cores(tmp_path, 1, dim=DIM, limits=Limits(set_ids=10)) as opened:
        sets, ids = opened.collections[0].sets, np.arange(10, dtype=np.int64)
        assert sets.append("s", ids).result(WAIT_S) == 10
        assert sets.append("s", ids).result(WAIT_S) == 10
        with pytest.raises(InvalidRequest, match="10 members"):
            sets.append("s", ids + 1)


def test_too_many_exclusions_are_refused(tmp_path: Path) -> None:
    """The limits of ids and of sets of one search hold."""
    limits = Limits(exclude_ids=3, exclude_sets=1)
    with cores(tmp_path, 1, dim=DIM, limits=limits) as opened:
        for exclude in (Exclusions(np.arange(4)), Exclusions(None, ("a", "b"))):
            with pytest.raises(InvalidRequest):
                asked(opened, exclude)
