"""Every instruction set of the machine gives the same bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.kernel.builds import built, codes_of
from tests.kernel.pieces import METRICS, MetricName, bits_of, floats, rows_of

import fanlight_kernel as kernel

LEVELS = kernel.simd_levels()
# Below, at and above what one instruction takes, and what a line of the cache holds.
DIMS = (1, 3, 15, 16, 17, 50, 64, 65, 100, 128, 200)


@pytest.fixture(autouse=True)
def _the_level_stays() -> Iterator[None]:
    before = kernel.simd()
    yield
    kernel.use_simd(before)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("metric", METRICS)
def test_graphs_are_the_same(metric: MetricName, dim: int) -> None:
    """A graph follows from comparisons of codes alone: one that differs leads to other neighbours."""
    vectors = floats(41, 600, dim)
    graphs = []
    for level in LEVELS:
        kernel.use_simd(level)
        graphs.append(built(metric, vectors))
    for graph in graphs[1:]:
        for name in ("links", "levels", "upper", "entry_point", "top_level"):
            np.testing.assert_array_equal(getattr(graph, name), getattr(graphs[0], name))


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("metric", METRICS)
def test_scans_of_codes_are_the_same_of_any_number_of_rows(metric: MetricName, dim: int) -> None:
    """Also of numbers that no loop takes whole, and of rows that lie apart."""
    vectors, queries = floats(42, 300, dim), floats(43, 9, dim)
    rows = rows_of(metric, vectors)
    for count in (1, 2, 3, 4, 5, 7, 8, 13, 130):
        allowed = np.zeros(300, dtype=bool)
        allowed[np.random.default_rng(count).permutation(300)[:count]] = True
        found = []
        for level in LEVELS:
            kernel.use_simd(level)
            found.append(rows.scan(queries, 1, bits_of(allowed), codes=True))
        for one in found[1:]:
            np.testing.assert_array_equal(one.rows, found[0].rows)
            np.testing.assert_array_equal(one.scores, found[0].scores)


@pytest.mark.parametrize("metric", METRICS)
def test_the_codes_of_a_key_are_all_counted(metric: MetricName) -> None:
    """On every level the nearest of a few rows is the one whose last element alone says so."""
    for dim in DIMS[1:]:
        vectors = np.full((23, dim), 0.5, dtype=np.float32)
        vectors[:, -1] = np.linspace(-1, 1, 23)
        query = np.full((1, dim), 0.5, dtype=np.float32)
        query[0, -1] = 1
        rows = rows_of(metric, vectors)
        for level in LEVELS:
            kernel.use_simd(level)
            (found,) = rows.scan(query, 1, codes=True).rows
            assert found.tolist() == [22], (level, dim)


def test_codes_are_the_same() -> None:
    """Encoding does not depend on the instruction set."""
    vectors = floats(44, 50, 77)
    encoded = []
    for level in LEVELS:
        kernel.use_simd(level)
        encoded.append(codes_of("l2", vectors))
    for one in encoded[1:]:
        np.testing.assert_array_equal(one, encoded[0])
