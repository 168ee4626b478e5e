"""Filtered searches where the allowed rows are not where the query is, against brute force."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.kernel.builds import cells_of, codes_of
from tests.kernel.pieces import METRICS, MetricName, best, bits_of, recall, rows_of

import fanlight_kernel as kernel
from fanlight.model import Floats

# So many rows that half of them are not scanned instead: see scan_is_cheap in search_plan.cpp.
ROWS, DIM, CLUSTERS, QUERIES = 30_000, 16, 30, 20
# And so many that three tenths of them are not, with AVX2.
MANY_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Clusters:
    """Vectors around centres, a graph over them, and queries of the same kind.

    Attributes:
        cluster: (rows,) int, the centre that each row lies around; rows come in turns.
        queries: around the first centre.
        graph: without cells.
        divided: the same graph with cells.
    """

    vectors: Floats
    cluster: NDArray[np.int64]
    queries: Floats
    rows: kernel.Rows
    graph: kernel.Graph
    divided: kernel.Graph


@cache
def clusters_of(metric: MetricName, n: int = ROWS) -> Clusters:
    """Build a graph of n rows; the same for all tests of a metric."""
    rng = np.random.default_rng(20)
    centres = rng.standard_normal((CLUSTERS, DIM))
    cluster = np.arange(n) % CLUSTERS
    vectors = (centres[cluster] + 0.4 * rng.standard_normal((n, DIM))).astype(np.float32)
    queries = (centres[0] + 0.4 * rng.standard_normal((QUERIES, DIM))).astype(np.float32)
    codes = kernel.encode(metric, vectors, kernel.lengths(vectors))
    builder = kernel.Builder(metric, codes, dim=DIM, m=16, ef_construction=60)
    builder.add(n, threads=2)
    rows, arrays = rows_of(metric, vectors), builder.finish()
    cells = cells_of(metric, vectors, 4 * math.isqrt(n))
    graph, divided = kernel.Graph(rows, *arrays), kernel.Graph(rows, *arrays, cells=cells)
    return Clusters(vectors, cluster, queries, rows, graph, divided)


def allowed_of(case: Clusters, kind: str, share: float) -> NDArray[np.bool_]:
    """Allow a share of the rows, or as many whole clusters as it takes."""
    if kind == "anywhere":
        return np.random.default_rng(21).random(ROWS) < share
    (found,) = case.rows.scan(case.queries[:1], ROWS).rows
    if kind == "clusters":
        # Those farthest from the queries, as far as their first rows tell.
        first = list(dict.fromkeys(case.cluster[found].tolist()))[::-1]
        return np.isin(case.cluster, first[: max(1, round(share * CLUSTERS))])
    order = found if kind == "near" else found[::-1]
    return np.isin(np.arange(ROWS), order[: round(share * ROWS)])


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("walk", ["codes", "vectors"])
@pytest.mark.parametrize("kind", ["anywhere", "near", "far", "clusters"])
@pytest.mark.parametrize("metric", METRICS)
def test_recall_holds_wherever_the_allowed_rows_are(
    metric: MetricName, kind: str, walk: Literal["codes", "vectors"], divided: bool
) -> None:
    """At any share a search finds 0.95 of the true hits and none that is not allowed."""
    case = clusters_of(metric)
    graph = case.divided if divided else case.graph
    for share in (0.9, 0.5, 0.1, 0.01, 0.001):
        allowed = allowed_of(case, kind, share)
        for k, ef in ((1, 64), (10, 64), (100, 100)):
            got = graph.search(case.queries, k, ef, bits_of(allowed), walk=walk)
            true = best(metric, case.queries, case.vectors, k, allowed=allowed)
            np.testing.assert_array_equal(got.counts, true.counts)
            assert allowed[got.rows[got.rows >= 0]].all()
            np.testing.assert_array_equal(got.scores, case.rows.score(case.queries, got.rows))
            assert recall(got, true) >= 0.95, (share, k)


@pytest.mark.parametrize("metric", METRICS)
def test_filters_cost_little_recall_where_rows_are_too_many_to_scan(metric: MetricName) -> None:
    """At most 0.05 less than without a filter. Truth is the scan, which others hold to numpy's."""
    case = clusters_of(metric, MANY_ROWS)
    chance = np.random.default_rng(21).random(MANY_ROWS)
    for k, ef in ((10, 64), (100, 100), (100, 200)):
        true = case.rows.scan(case.queries, k)
        unfiltered = recall(case.graph.search(case.queries, k, ef), true)
        for share in (0.9, 0.7, 0.5, 0.3):
            bits = bits_of(chance < share)
            true = case.rows.scan(case.queries, k, bits)
            found = recall(case.graph.search(case.queries, k, ef, bits), true)
            assert found >= unfiltered - 0.05, (share, k, ef)


def test_to_leave_out_a_few_rows_costs_no_recall() -> None:
    """Among vectors without any order, where every candidate counts."""
    rng = np.random.default_rng(22)
    vectors = rng.standard_normal((20_000, 64), dtype=np.float32)
    queries = rng.standard_normal((100, 64), dtype=np.float32)
    rows = rows_of("cosine", vectors)
    codes = kernel.encode("cosine", vectors, kernel.lengths(vectors))
    builder = kernel.Builder("cosine", codes, dim=64, m=16, ef_construction=100)
    builder.add(len(vectors), threads=2)
    graph = kernel.Graph(rows, *builder.finish())
    unfiltered = recall(graph.search(queries, 10, 64), rows.scan(queries, 10))
    bits = bits_of(rng.random(len(vectors)) < 0.999)
    assert recall(graph.search(queries, 10, 64, bits), rows.scan(queries, 10, bits)) >= (
        unfiltered - 0.01
    )


def test_inner_products_are_found_among_few_allowed_rows() -> None:
    """Where lengths differ, and rows are too many to scan, cells lead to 0.95 of the true hits."""
    rng = np.random.default_rng(23)
    vectors = rng.standard_normal((20_000, 64), dtype=np.float32)
    vectors *= np.exp(0.4 * rng.standard_normal((20_000, 1), dtype=np.float32))
    queries = rng.standard_normal((50, 64), dtype=np.float32)
    builder = kernel.Builder("dot", codes_of("dot", vectors), dim=64, m=16, ef_construction=100)
    builder.add(len(vectors), threads=2)
    rows, arrays = rows_of("dot", vectors), builder.finish()
    cells = cells_of("dot", vectors, 4 * math.isqrt(len(vectors)))
    divided = kernel.Graph(rows, *arrays, cells=cells)
    for share in (0.4, 0.3, 0.2):
        bits = bits_of(rng.random(len(vectors)) < share)
        true = rows.scan(queries, 10, bits)
        assert recall(divided.search(queries, 10, 64, bits), true) >= 0.95


def test_what_is_allowed_at_random_is_found_where_few_of_a_cluster_are() -> None:
    """More is wanted than lies together, so paths of allowed rows end before it is found."""
    rng = np.random.default_rng(29)
    centres = rng.standard_normal((1_200, 16))
    near = centres[rng.integers(0, len(centres), 60_100)]
    vectors = (near + 0.25 * rng.standard_normal(near.shape)).astype(np.float32)
    queries, vectors = vectors[:100], vectors[100:]
    builder = kernel.Builder("cosine", codes_of("cosine", vectors), 16, 8, ef_construction=64)
    builder.add(len(vectors), threads=2)
    rows, arrays = rows_of("cosine", vectors), builder.finish()
    cells = cells_of("cosine", vectors, 4 * math.isqrt(len(vectors)))
    graph = kernel.Graph(rows, *arrays, cells=cells)
    for k, shares in ((10, (0.15, 0.1)), (50, (0.4, 0.2, 0.15))):
        for share in shares:
            bits = bits_of(rng.random(len(vectors)) < share)
            true = rows.scan(queries, k, bits)
            assert recall(graph.search(queries, k, 64, bits), true) >= 0.95


@pytest.mark.parametrize("divided", [False, True])
def test_a_far_search_answers_alike_alone_in_a_batch_and_on_threads(divided: bool) -> None:
    """What a walk starts from depends on the allowed rows alone."""
    case = clusters_of("cosine")
    graph = case.divided if divided else case.graph
    bits = bits_of(allowed_of(case, "far", 0.5))
    together = graph.search(case.queries, 10, 64, bits)
    threads = graph.search(case.queries, 10, 64, bits, threads=4)
    np.testing.assert_array_equal(threads.rows, together.rows)
    for row, query in enumerate(case.queries):
        alone = graph.search(query[None], 10, 64, bits)
        np.testing.assert_array_equal(alone.rows[0], together.rows[row])


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_what_is_alike_in_another_category_is_found(metric: MetricName) -> None:
    """A user looks at one category, and only items of another are wanted."""
    rng = np.random.default_rng(31)
    categories = rng.standard_normal((4, 1, 64))
    groups = (categories + 0.6 * rng.standard_normal((4, 75, 64))).reshape(300, 64)
    group = rng.integers(0, len(groups), 44_100)  # of a category more than are scanned
    near = groups[group] + 0.5 * rng.standard_normal((len(group), 64))
    queries, vectors = np.split(near.astype(np.float32), [100])
    category = group[100:] // 75
    builder = kernel.Builder(metric, codes_of(metric, vectors), 64, 16, ef_construction=60)
    builder.add(len(vectors), threads=2)
    rows, arrays = rows_of(metric, vectors), builder.finish()
    cells = cells_of(metric, vectors, 4 * math.isqrt(len(vectors)))
    graph = kernel.Graph(rows, *arrays, cells=cells)
    for wanted in range(4):
        bits = bits_of(category == wanted)
        others = queries[group[:100] // 75 != wanted]
        found = graph.search(others, 10, 64, bits)
        assert recall(found, rows.scan(others, 10, bits)) >= 0.95
        alone = [graph.search(query[None], 10, 64, bits).rows[0] for query in others]
        np.testing.assert_array_equal(alone, found.rows)
