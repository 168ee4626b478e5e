"""Several sets of rows searched as one, held to brute force over all of their rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.kernel.builds import built
from tests.kernel.pieces import METRICS, Bits, MetricName, floats, graph_of, rows_of

import fanlight_kernel as kernel
from fanlight.model import Floats

Walk = Literal["codes", "vectors"]
Ids = list[list[int]]
DIM = 12
K = 10


@dataclass(frozen=True)
class Split:
    """Vectors in several places; the order of row r of all is `ids[r]`."""

    metric: MetricName
    vectors: Floats
    ids: NDArray[np.int64]
    sizes: tuple[int, ...]
    parts: kernel.Parts

    def best(self, queries: Floats, k: int, allowed: NDArray[np.bool_] | None = None) -> Ids:
        """Give the ids of the true hits, best first."""
        everything = rows_of(self.metric, self.vectors, self.ids)
        bits = None if allowed is None else packed(allowed)
        found = everything.scan(queries, k, bits)
        return [self.ids[rows[rows >= 0]].tolist() for rows in found.rows]

    def bits(self, allowed: NDArray[np.bool_]) -> list[Bits]:
        """Cut what is allowed into a bitmap for each part."""
        return [packed(piece) for piece in np.split(allowed, np.cumsum(self.sizes)[:-1])]


def packed(allowed: NDArray[np.bool_]) -> Bits:
    return np.packbits(allowed, bitorder="little")


def split(
    metric: MetricName,
    sizes: Sequence[int],
    graphs: Sequence[bool],
    seed: int = 1,
    vectors: Floats | None = None,
) -> Split:
    """Spread vectors over parts, some of them with a graph, under ids in random order."""
    total = sum(sizes)
    vectors = floats(seed, total, DIM) if vectors is None else vectors
    ids = np.random.default_rng(seed).permutation(10 * total)[:total].astype(np.int64)
    parts: list[kernel.Rows | kernel.Graph] = []
    ends = np.cumsum(sizes)
    for size, end, graph in zip(sizes, ends, graphs, strict=True):
        piece = np.ascontiguousarray(vectors[end - size : end])
        rows = rows_of(metric, piece, ids[end - size : end].copy())
        parts.append(graph_of(rows, built(metric, piece, ef=100)) if graph else rows)
    return Split(metric, vectors, ids, tuple(sizes), kernel.Parts(parts))


def ids_of(found: kernel.Found) -> Ids:
    """Give the ids found; what is beyond the count must be padding."""
    for rows, scores, count in zip(found.rows, found.scores, found.counts, strict=True):
        assert (rows[count:] == -1).all()
        assert np.isnan(scores[count:]).all()
    return [
        row[:count].tolist() for row, count in zip(found.rows, found.counts.tolist(), strict=True)
    ]


def recall(found: Ids, best: Ids) -> float:
    hits = [len(set(f) & set(b)) for f, b in zip(found, best, strict=True)]
    return sum(hits) / sum(map(len, best))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threads", [1, 3])
def test_exact_search_is_brute_force_over_all_parts(metric: MetricName, threads: int) -> None:
    """Without ef the answer is the same as that of one part, ids, order and scores."""
    case = split(metric, (400, 1, 90, 200), (True, False, False, True))
    queries = floats(2, 41, DIM)
    for k in (1, K, 691, 700):
        found = case.parts.search(queries, k, None, threads=threads)
        assert ids_of(found) == case.best(queries, k)
        whole = rows_of(metric, case.vectors, case.ids).scan(queries, k)
        np.testing.assert_array_equal(found.scores, whole.scores)
        assert found.done == 41
    assert len(case.parts) == 691


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("walk", ["codes", "vectors"])
def test_walks_and_scans_find_the_neighbours(metric: MetricName, walk: Walk) -> None:
    """Graphs and rows without one answer together, any number of queries a call."""
    case = split(metric, (900, 700, 60), (True, True, False))
    queries = floats(3, 64, DIM)
    best = case.best(queries, K)
    for size in (1, 7, 64):
        found: Ids = []
        for at in range(0, 64, size):
            some = case.parts.search(
                queries[at : at + size],
                K,
                80,
                walk=walk,
                threads=2,
            )
            found += ids_of(some)
        assert recall(found, best) > 0.99


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("walk", ["codes", "vectors"])
@pytest.mark.parametrize("share", [1, 0.6, 0.04])
def test_hits_come_once_best_first_with_exact_scores(
    metric: MetricName, walk: Walk, share: float
) -> None:
    """Whatever chose a hit, in whichever part, its score is the one that it has alone."""
    case = split(metric, (900, 700, 60, 30), (True, True, False, False))
    queries = floats(8, 40, DIM)
    allowed = np.random.default_rng(9).random(len(case.ids)) < share
    found = case.parts.search(queries, K, 60, case.bits(allowed), walk=walk, threads=2)
    assert recall(ids_of(found), case.best(queries, K, allowed)) > 0.98
    at = np.argsort(case.ids)
    rows = at[np.searchsorted(case.ids, found.rows, sorter=at)]
    assert allowed[rows].all()
    everything = rows_of(metric, case.vectors, case.ids)
    np.testing.assert_array_equal(found.scores, everything.score(queries, rows))
    for ids, scores in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
        assert len(set(ids)) == K
        assert [*zip(scores, ids, strict=True)] == sorted(
            zip(scores, ids, strict=True), key=lambda hit: (-hit[0], hit[1])
        )


def test_only_allowed_rows_are_found() -> None:
    """Bitmaps hold for the part they stand for; a part may have none left, or no bitmap."""
    case = split("cosine", (600, 300, 50), (True, True, False))
    queries = floats(4, 20, DIM)
    rng = np.random.default_rng(5)
    for share in (0.5, 0.05, 0.002):
        allowed = rng.random(950) < share
        allowed[600:900] = False
        found = case.parts.search(queries, K, None, case.bits(allowed))
        assert ids_of(found) == case.best(queries, K, allowed)
        walked = case.parts.search(queries, K, 100, case.bits(allowed))
        assert recall(ids_of(walked), case.best(queries, K, allowed)) > 0.99
    bits = case.bits(np.arange(950) % 2 == 0)
    mixed = np.ones(950, dtype=bool)
    mixed[:600] = np.arange(600) % 2 == 0
    assert ids_of(case.parts.search(queries, K, None, [bits[0], None, None])) == case.best(
        queries, K, mixed
    )
    nothing = case.parts.search(queries, K, 50, case.bits(np.zeros(950, dtype=bool)))
    assert nothing.counts.tolist() == [0] * 20


def test_equal_scores_are_ordered_across_parts() -> None:
    """Of equal vectors those with the lowest order come first, wherever they lie."""
    vectors = np.repeat(floats(6, 3, DIM), 100, axis=0)
    case = split("cosine", (120, 100, 80), (True, True, False), vectors=vectors)
    queries = vectors[[0, 150, 299]].copy()
    assert ids_of(case.parts.search(queries, 30, None)) == case.best(queries, 30)
    for ids in ids_of(case.parts.search(queries, 30, 50)):  # walks find any 30 of them
        assert ids == sorted(ids)


def test_a_walk_that_misses_rows_is_completed() -> None:
    """As many hits come as there are rows, up to k, even where a walk reaches fewer."""
    vectors = np.repeat(floats(7, 2, DIM), 300, axis=0)
    case = split("l2", (500, 100), (True, False), vectors=vectors)
    found = case.parts.search(vectors[:1].copy(), 450, 450)
    assert found.counts.tolist() == [450]
    assert len(set(found.rows[0].tolist())) == 450


def test_a_timeout_leaves_whole_queries() -> None:
    """What was begun in time is answered from all parts, what was not from none."""
    rows = 40_000
    case = split("cosine", (rows, rows // 2), (False, False))
    queries = floats(8, 512, DIM)
    started = time.perf_counter()
    case.parts.search(queries, K, None)
    whole_s = time.perf_counter() - started
    found = case.parts.search(queries, K, None, timeout_s=whole_s / 4)
    assert 0 <= found.done < 512
    assert ids_of(replaced(found)) == case.best(queries[: found.done], K)
    assert (found.counts[found.done :] == -1).all()
    assert case.parts.search(queries, K, None, timeout_s=0.0).done == 0


def replaced(found: kernel.Found) -> kernel.Found:
    done = found.done
    return kernel.Found(found.rows[:done], found.scores[:done], found.counts[:done], done)


def test_bad_arguments_are_refused_by_name() -> None:
    """Each error names what was wrong."""
    case = split("cosine", (50, 20), (False, False))
    queries = floats(9, 2, DIM)
    search = case.parts.search
    with pytest.raises(ValueError, match="k: expected 1 to"):
        search(queries, 0, None)
    with pytest.raises(ValueError, match="ef: expected 1 to"):
        search(queries, 5, 0)
    with pytest.raises(ValueError, match="queries: expected"):
        search(queries[:, :-1].copy(), 5, None)
    with pytest.raises(ValueError, match="query 1"):
        search(np.stack([queries[0], np.full(DIM, np.nan, np.float32)]), 5, None)
    with pytest.raises(ValueError, match="allowed: expected one for each of 2 parts, got 1"):
        search(queries, 5, None, [None])
    with pytest.raises(ValueError, match="allowed: expected"):
        search(queries, 5, None, [None, np.zeros(2, dtype=np.uint8)])
    with pytest.raises(ValueError, match="walk: expected codes or vectors"):
        search(queries, 5, 10, walk="links")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threads: expected 1 to"):
        search(queries, 5, 10, threads=0)
    with pytest.raises(ValueError, match="timeout_s: expected 0 or more"):
        search(queries, 5, 10, timeout_s=-1.0)


def test_parts_must_be_alike() -> None:
    """Another metric or dim, or rows that lack something, are refused; so is no part."""
    one = rows_of("cosine", floats(1, 9, DIM), np.arange(9))
    with pytest.raises(ValueError, match="parts: expected at least one"):
        kernel.Parts([])
    for other in (
        rows_of("dot", floats(1, 9, DIM), np.arange(9)),
        rows_of("cosine", floats(1, 9, DIM + 1), np.arange(9)),
    ):
        with pytest.raises(ValueError, match="parts: expected one dim and one metric"):
            kernel.Parts([one, other])
    with pytest.raises(ValueError, match="parts: expected order and codes"):
        kernel.Parts([rows_of("cosine", floats(1, 9, DIM))])
    with pytest.raises((TypeError, RuntimeError)):
        kernel.Parts([3])  # type: ignore[list-item]


def test_parts_keep_what_they_are_made_of() -> None:
    """The names of rows and graphs may go."""
    case = split("cosine", (300, 40), (True, False))
    queries = floats(2, 5, DIM)
    best = case.best(queries, K)
    junk = [np.full((300, DIM), i, dtype=np.float32) for i in range(100)]
    assert ids_of(case.parts.search(queries, K, None)) == best
    del junk


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("sizes", [(83,) * 6, (1, 300, 2, 129), (5, 3)])
def test_rows_without_graphs_are_compared_as_one_set(
    metric: MetricName, sizes: tuple[int, ...]
) -> None:
    """However they are cut, codes choose the same candidates among them, and scores are exact."""
    case = split(metric, sizes, (False,) * len(sizes))
    queries = floats(4, 23, DIM)
    whole = rows_of(metric, case.vectors, case.ids)
    allowed = np.random.default_rng(6).random(sum(sizes)) < 0.7
    for mask in (None, allowed):
        one = whole.scan(queries, K, None if mask is None else packed(mask), codes=True)
        found = case.parts.search(queries, K, 40, None if mask is None else case.bits(mask))
        assert ids_of(found) == [case.ids[rows[rows >= 0]].tolist() for rows in one.rows]
        np.testing.assert_array_equal(found.scores, one.scores)
        np.testing.assert_array_equal(found.counts, one.counts)
