"""Scores and scans, against brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kernel.pieces import (
    METRICS,
    MetricName,
    assert_found,
    best,
    bits_of,
    floats,
    recall,
    rows_of,
)

import fanlight_kernel as kernel


@pytest.mark.parametrize("dim", [1, 3, 8, 17, 64, 100, 384])
@pytest.mark.parametrize("metric", METRICS)
def test_a_scan_is_brute_force(metric: MetricName, dim: int) -> None:
    """A scan finds what comparing row by row finds, to the last bit."""
    vectors, queries = floats(1, 300, dim), floats(2, 4, dim)
    order = np.random.default_rng(3).permutation(300) - 150
    rows = rows_of(metric, vectors, order)
    for k in (1, 10, 300, 310):
        assert_found(rows.scan(queries, k), best(metric, queries, vectors, k, order))


@pytest.mark.parametrize("metric", METRICS)
def test_only_allowed_rows_are_found(metric: MetricName) -> None:
    """Rows outside the bitmap never show, however near."""
    vectors, queries = floats(4, 301, 20), floats(5, 3, 20)
    rows = rows_of(metric, vectors)
    for share in (0.0, 0.01, 0.5, 1.0):
        allowed = np.random.default_rng(6).random(301) < share
        expected = best(metric, queries, vectors, 12, None, allowed)
        assert_found(rows.scan(queries, 12, bits_of(allowed)), expected)
        assert_found(rows.scan(queries, 12, bits_of(allowed), codes=True), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_codes_choose_good_candidates(metric: MetricName) -> None:
    """A scan on codes finds nearly all of what an exact one finds, with the same scores."""
    vectors, queries = floats(7, 5_000, 96), floats(8, 20, 96)
    rows = rows_of(metric, vectors)
    exact = rows.scan(queries, 10)
    got = rows.scan(queries, 10, codes=True)
    assert recall(got, exact) > 0.99
    np.testing.assert_array_equal(got.scores, rows.score(queries, got.rows))


@pytest.mark.parametrize("metric", METRICS)
def test_given_rows_are_scored(metric: MetricName) -> None:
    """Scores of given rows are those of brute force, NaN for none."""
    vectors, queries = floats(9, 50, 30), floats(10, 3, 30)
    rows = rows_of(metric, vectors)
    everything = best(metric, queries, vectors, 50)
    np.testing.assert_array_equal(rows.score(queries, everything.rows), everything.scores)
    some = np.array([[3, -1, 3], [-1, -1, -1], [0, 49, -1]])
    np.testing.assert_array_equal(np.isnan(rows.score(queries, some)), some < 0)


def test_arguments_are_checked() -> None:
    """A wrong argument is named, with what was expected and what came."""
    vectors = floats(11, 10, 4)
    lengths = kernel.lengths(vectors)
    doubles: Any = vectors.astype(np.float64)
    with pytest.raises(TypeError, match="vectors: expected an array of float32, got float64"):
        kernel.Rows("dot", doubles, lengths, None)
    with pytest.raises(ValueError, match=r"lengths: expected shape \(10,\), got \(9,\)"):
        kernel.Rows("dot", vectors, lengths[:9], None)
    with pytest.raises(ValueError, match="vectors: expected a C-contiguous"):
        kernel.Rows("dot", np.asfortranarray(vectors), lengths, None)
    rows = kernel.Rows("dot", vectors, lengths, None)
    with pytest.raises(ValueError, match="queries: expected finite numbers"):
        rows.scan(np.full((1, 4), np.nan, np.float32), 1)
    with pytest.raises(ValueError, match="k: expected 1 to"):
        rows.scan(vectors, 0)
    with pytest.raises(ValueError, match="codes: expected rows that have codes"):
        rows.scan(vectors, 1, codes=True)
    with pytest.raises(ValueError, match=r"rows: expected -1 to 9, got 10"):
        rows.score(vectors[:1], np.array([[10]]))
