"""Graphs of the kernel's builder, beside those of hnswlib."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kernel.builds import assert_sound, built
from tests.kernel.pieces import (
    METRICS,
    GraphArrays,
    MetricName,
    arrays_of,
    floats,
    graph_of,
    index_of,
    recall,
    rows_of,
)

from fanlight.model import Floats


def clustered(seed: int, rows: int, dim: int, clusters: int) -> Floats:
    """Draw vectors around centres that are farther from each other than from their vectors."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dim))
    noise = rng.standard_normal((rows, dim))
    vectors: Floats = (centres[rng.integers(0, clusters, rows)] + 0.5 * noise).astype(np.float32)
    return vectors


def recall_of(metric: MetricName, vectors: Floats, arrays: GraphArrays, ef: int) -> float:
    """Measure recall@10 of 200 queries that are drawn like the vectors."""
    rows = rows_of(metric, vectors[:-200])
    queries = vectors[-200:]
    found = graph_of(rows, arrays).search(queries, 10, ef, walk="vectors")
    return recall(found, rows.scan(queries, 10))


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("clusters", [1, 40])
def test_searches_find_as_much_as_in_a_graph_of_hnswlib(metric: MetricName, clusters: int) -> None:
    """With the same parameters and the same walk, recall is that of hnswlib's graph."""
    vectors = clustered(1, 4_200, 24, clusters)
    ours = built(metric, vectors[:-200])
    theirs = arrays_of(index_of(metric, vectors[:-200]), 4_000)
    assert_sound(metric, vectors[:-200], ours)
    for ef in (20, 40, 80):
        expected = recall_of(metric, vectors, theirs, ef)
        assert recall_of(metric, vectors, ours, ef) > expected - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 4])
def test_threads_build_as_good_a_graph(threads: int) -> None:
    """Rows that are inserted at the same time find each other nearly always."""
    vectors = clustered(2, 4_200, 24, 40)
    alone = recall_of("l2", vectors, built("l2", vectors[:-200]), 40)
    together = built("l2", vectors[:-200], threads=threads)
    assert_sound("l2", vectors[:-200], together)
    assert recall_of("l2", vectors, together, 40) > alone - 0.01


def test_one_thread_builds_the_same_graph_in_any_steps() -> None:
    """The graph of one thread depends on the codes and the seed."""
    vectors = floats(3, 600, 12)
    once = built("cosine", vectors, seed=7)
    again = built("cosine", vectors, seed=7, stops=[1, 2, 100, 100, 599])
    other = built("cosine", vectors, seed=8)
    for name in ("links", "levels", "upper"):
        np.testing.assert_array_equal(getattr(once, name), getattr(again, name))
    assert (once.entry_point, once.top_level) == (again.entry_point, again.top_level)
    assert not np.array_equal(once.levels, other.levels)


@pytest.mark.slow
def test_a_graph_that_was_extended_often_is_as_good() -> None:
    """Twenty extensions leave the recall of one build, and the base as it was."""
    vectors = clustered(4, 4_200, 24, 40)
    arrays = built("l2", vectors[:200])
    for rows in range(400, 4_001, 200):
        before = [arrays.links.copy(), arrays.levels.copy(), arrays.upper.copy()]
        extended = built("l2", vectors[:rows], base=arrays)
        for old, same in zip(before, (arrays.links, arrays.levels, arrays.upper), strict=True):
            np.testing.assert_array_equal(old, same)
        arrays = extended
    assert_sound("l2", vectors[:-200], arrays)
    once = recall_of("l2", vectors, built("l2", vectors[:-200]), 40)
    assert recall_of("l2", vectors, arrays, 40) > once - 0.01
