"""Graphs over many equal vectors, which leave hnswlib without recall."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kernel.builds import assert_sound, built
from tests.kernel.pieces import (
    METRICS,
    MetricName,
    arrays_of,
    floats,
    graph_of,
    index_of,
    recall,
    rows_of,
)

from fanlight.model import Floats


def mostly_equal(seed: int, rows: int, equal: int, dim: int) -> tuple[Floats, Floats]:
    """Draw vectors, put one of them in many places, and give the others too."""
    rng = np.random.default_rng(seed)
    vectors = floats(seed, rows, dim)
    places = rng.permutation(rows)
    vectors[places[:equal]] = vectors[places[0]]
    return vectors, vectors[places[equal:]]


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_do_not_hide_the_others(metric: MetricName) -> None:
    """Of 4,000 rows 3,500 are equal; the others are found as if they were not."""
    vectors, others = mostly_equal(1, 4_000, 3_500, 24)
    queries: Floats = (others[:100] + 0.1 * floats(2, 100, 24)).astype(np.float32)
    rows, arrays = rows_of(metric, vectors), built(metric, vectors)
    assert_sound(metric, vectors, arrays)
    expected = rows.scan(queries, 10)
    found = graph_of(rows, arrays).search(queries, 10, 64)
    assert (found.scores == expected.scores).mean() > 0.97
    theirs = graph_of(rows, arrays_of(index_of(metric, vectors), 4_000))
    assert recall(theirs.search(queries, 10, 64), expected) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("k", [1, 10, 1_000])
def test_equal_rows_are_all_found(metric: MetricName, k: int) -> None:
    """A search at their place gives as many of them as were asked for."""
    vectors, _ = mostly_equal(3, 4_000, 3_500, 24)
    rows = rows_of(metric, vectors)
    values, counts = np.unique(vectors, axis=0, return_counts=True)
    query = values[counts.argmax()][None]
    found = graph_of(rows, built(metric, vectors)).search(query, k, k)
    assert found.counts.tolist() == [k]
    np.testing.assert_array_equal(vectors[found.rows[0]], np.repeat(query, k, axis=0))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [2, 3, 16])
@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_but_equal_rows(metric: MetricName, m: int, threads: int) -> None:
    """A graph of equal rows alone is whole, even of zero vectors."""
    for value in (1.5, 0.0):
        vectors = np.full((300, 5), value, dtype=np.float32)
        arrays = built(metric, vectors, m=m, threads=threads, stops=[1, 7, 200])
        assert_sound(metric, vectors, arrays)
        found = graph_of(rows_of(metric, vectors), arrays).search(vectors[:1], 300, 300)
        assert sorted(found.rows[0].tolist()) == list(range(300))


@pytest.mark.parametrize("base", ["ours", "hnswlib"])
def test_copies_of_rows_of_the_base(base: str) -> None:
    """A graph is extended by rows equal to each other and to rows that it holds, and stays whole."""
    vectors = np.concatenate([floats(4, 300, 8), floats(4, 300, 8), np.ones((300, 8), np.float32)])
    vectors[100:150] = vectors[0]
    first = vectors[:250]
    arrays = built("l2", first) if base == "ours" else arrays_of(index_of("l2", first), 250)
    arrays = built("l2", vectors, base=arrays)
    assert_sound("l2", vectors, arrays)
    rows = rows_of("l2", vectors)
    found = graph_of(rows, arrays).search(vectors[:300], 2, 40)
    np.testing.assert_array_equal(found.scores, rows.scan(vectors[:300], 2).scores)
