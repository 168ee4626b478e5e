"""Searches of graphs, against brute force and against hnswlib."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kernel.pieces import (
    METRICS,
    MetricName,
    bits_of,
    case_of,
    floats,
    recall,
    walked_form,
)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_a_walk_over_vectors_is_that_of_hnswlib(metric: MetricName) -> None:
    """On one graph with one ef, the kernel and hnswlib find the same rows."""
    case = case_of(metric, floats(1, 2_000, 24))
    queries = floats(2, 100, 24)
    for k, ef in ((10, 10), (10, 40), (1, 1), (50, 700)):
        case.index.set_ef(ef)
        theirs, _ = case.index.knn_query(walked_form(metric, queries), k=k)
        ours = case.graph.search(queries, k, ef, walk="vectors")
        np.testing.assert_array_equal(np.sort(ours.rows), np.sort(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.01, 0.001])
def test_filtered_searches_keep_their_recall(metric: MetricName, share: float) -> None:
    """At any share of allowed rows a search finds them, scores them exactly, and finds no other."""
    case = case_of(metric, floats(3, 3_000, 16))
    queries = floats(4, 30, 16)
    allowed = np.random.default_rng(5).random(3_000) < share
    got = case.graph.search(queries, 10, 100, bits_of(allowed))
    exact = case.rows.scan(queries, 10, bits_of(allowed))
    assert recall(got, exact) > 0.95
    assert allowed[got.rows[got.rows >= 0]].all()
    np.testing.assert_array_equal(got.scores, case.rows.score(queries, got.rows))
    np.testing.assert_array_equal(got.counts, exact.counts)


def test_threads_and_timeouts() -> None:
    """Threads change nothing; queries past the timeout are marked as unanswered."""
    case = case_of("cosine", floats(6, 500, 16))
    queries = floats(7, 64, 16)
    alone = case.graph.search(queries, 5, 20)
    together = case.graph.search(queries, 5, 20, threads=4)
    np.testing.assert_array_equal(alone.rows, together.rows)
    late = case.graph.search(queries, 5, 20, timeout_s=0.0)
    assert late.done == 0
    assert set(late.counts.tolist()) == {-1}
    assert case.graph.search(queries, 5, 20, timeout_s=60.0).done == 64
