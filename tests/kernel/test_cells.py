"""Cells: every row is with the nearest centre, and no other array passes for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.kernel.builds import Cells, built, cells_of, codes_of
from tests.kernel.pieces import METRICS, MetricName, floats, rows_of

import fanlight_kernel as kernel
from fanlight.model import Floats

DIM = 12


def decoded(records: NDArray[np.uint8], dim: int) -> NDArray[np.float64]:
    """Give the vectors that codes stand for: src/codes.h says how."""
    tail = (dim + 3) // 4 * 4
    scales = records[:, tail : tail + 4].copy().view(np.float32)
    return scales.astype(np.float64) * (records[:, :dim].astype(np.float64) - 128)


def distances(metric: MetricName, vectors: Floats, cells: Cells) -> NDArray[np.float64]:
    """Tell how far each row is from each centre, both as their codes say."""
    rows = decoded(codes_of(metric, vectors), vectors.shape[1])
    centres = decoded(cells.centres, vectors.shape[1])
    far: NDArray[np.float64] = np.linalg.norm(rows[:, None] - centres[None], axis=2)
    return far


@pytest.mark.parametrize("metric", METRICS)
def test_every_row_is_in_one_cell_whose_centre_is_nearest(metric: MetricName) -> None:
    """Distances are those of numpy, but for what rounding leaves open."""
    vectors = floats(3, 900, DIM) * np.linspace(0.5, 2, 900, dtype=np.float32)[:, None]
    cells = cells_of(metric, vectors, 40)
    assert cells.bounds[0] == 0
    assert (np.diff(cells.bounds.astype(np.int64)) >= 0).all()
    np.testing.assert_array_equal(np.sort(cells.rows), np.arange(900))
    far = distances(metric, vectors, cells)
    own = far[np.arange(900), cells.cell_of()]
    assert (own <= 1.02 * far.min(axis=1) + 1e-4).all()


@pytest.mark.parametrize("metric", METRICS)
def test_centres_are_where_the_rows_are(metric: MetricName) -> None:
    """Rows around twenty points are closer to forty centres than to forty of themselves."""
    rng = np.random.default_rng(4)
    points = rng.standard_normal((20, DIM))
    around = points[rng.integers(0, 20, 2_000)] + 0.3 * rng.standard_normal((2_000, DIM))
    vectors = around.astype(np.float32)
    cells = cells_of(metric, vectors, 40)
    drawn = cells._replace(centres=codes_of(metric, vectors)[:40])
    found = distances(metric, vectors, cells).min(axis=1).mean()
    assert found < 0.9 * distances(metric, vectors, drawn).min(axis=1).mean()


def test_neither_steps_nor_threads_change_the_cells() -> None:
    """The cells depend on the codes alone."""
    vectors = floats(5, 1_000, DIM)
    one = cells_of("l2", vectors, 50)
    for threads, stops in ((1, (1, 333, 801, 1_000)), (4, ()), (3, (1_500, 1_700))):
        again = cells_of("l2", vectors, 50, threads=threads, stops=stops)
        for got, expected in zip(again, one, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_come_are_put_into_the_cells_that_there_are(metric: MetricName) -> None:
    """The centres and the first rows stay; the others go to the nearest centre."""
    vectors = floats(6, 700, DIM)
    first = cells_of(metric, vectors[:400], 20)
    grown = cells_of(metric, vectors, 99, base=first)
    np.testing.assert_array_equal(grown.centres, first.centres)
    np.testing.assert_array_equal(grown.cell_of()[:400], first.cell_of())
    far = distances(metric, vectors, grown)
    own = far[np.arange(700), grown.cell_of()]
    assert (own[400:] <= 1.02 * far[400:].min(axis=1) + 1e-4).all()
    same = cells_of(metric, vectors[:400], 99, base=first)
    np.testing.assert_array_equal(same.rows, first.rows)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((30, DIM), np.float32),
        np.ones((30, DIM), np.float32),
        floats(7, 1, DIM),
        np.repeat(floats(8, 3, DIM), 10, axis=0),
        np.concatenate([floats(9, 15, DIM), -floats(9, 15, DIM)]),
        np.float32(1e18) * floats(10, 30, DIM),
        np.float32(1e-30) * floats(11, 30, DIM),
    ],
    ids=["zeros", "equal", "one", "repeated", "opposed", "long", "short"],
)
def test_rows_of_every_kind_have_cells(metric: MetricName, vectors: Floats) -> None:
    """Each is in one, as many as there are rows, and searches of all find what there is."""
    for count in {1, len(vectors)}:
        cells = cells_of(metric, vectors, count)
        np.testing.assert_array_equal(np.sort(cells.rows), np.arange(len(vectors)))
        arrays = built(metric, vectors, m=4)
        graph = kernel.Graph(
            rows_of(metric, vectors), arrays.links, arrays.levels, arrays.upper,
            arrays.entry_point, arrays.top_level, cells=cells,
        )  # fmt: skip
        found = graph.search(vectors[:1], len(vectors), len(vectors))
        np.testing.assert_array_equal(np.sort(found.rows[0]), np.arange(len(vectors)))


def builder(**changed: Any) -> kernel.CellBuilder:
    """Make a builder over fifty rows, some of whose arguments are changed."""
    arguments: dict[str, Any] = {
        "metric": "l2", "codes": codes_of("l2", floats(1, 50, 6)), "dim": 6, "cells": 5,
    }  # fmt: skip
    return kernel.CellBuilder(**arguments | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "l1"}, "metric: expected cosine, dot or l2, got l1"),
        ({"codes": np.zeros((50, 63), np.uint8)}, r"codes: expected shape \(any, 64\)"),
        ({"codes": np.zeros((0, 64), np.uint8)}, "codes: rows: expected 1 to"),
        ({"dim": 0}, "dim: expected 1 to"),
        ({"cells": 0}, "cells: expected 1 to 50, got 0"),
        ({"cells": 51}, "cells: expected 1 to 50, got 51"),
        ({"base": (1, 2)}, "base: expected centres, bounds and rows, got 2 values"),
    ],
)
def test_arguments_out_of_range(changed: dict[str, Any], message: str) -> None:
    """Errors name the argument, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        builder(**changed)


def test_the_order_of_calls() -> None:
    """Steps are done up to the last one before the end."""
    unfinished = builder()
    with pytest.raises(ValueError, match=f"stop: expected 0 to {unfinished.steps}"):
        unfinished.add(unfinished.steps + 1, 1)
    with pytest.raises(ValueError, match="threads: expected 1 to 256, got 0"):
        unfinished.add(5, 0)
    with pytest.raises(ValueError, match="patience_s: expected 0 to 86400"):
        unfinished.add(5, 1, -1.0)
    unfinished.add(30, 2)
    unfinished.add(20, 1)
    assert len(unfinished) == 30
    with pytest.raises(RuntimeError, match=f"expected all {unfinished.steps} steps to be done"):
        unfinished.finish()


@pytest.mark.parametrize(
    ("part", "place", "value", "message"),
    [
        (1, 0, 1, "cells: bounds: expected to begin with 0 and end with 50"),
        (1, 5, 49, "cells: bounds: expected to begin with 0 and end with 50"),
        (1, 2, 51, "cells: bounds: expected them to ascend, got less after cell 2"),
        (2, 7, 50, "cells: rows: expected rows below 50, got 50"),
    ],
)
def test_cells_that_lead_outside_are_refused(
    part: int, place: int, value: int, message: str
) -> None:
    """By a graph, and as a base."""
    vectors = floats(1, 50, 6)
    cells = cells_of("l2", vectors, 5)
    cells[part][place] = value
    arrays = built("l2", vectors, m=4)
    rows = rows_of("l2", vectors)
    with pytest.raises(ValueError, match=message):
        kernel.Graph(
            rows, arrays.links, arrays.levels, arrays.upper, arrays.entry_point,
            arrays.top_level, cells=cells,
        )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        builder(base=cells)


def test_cells_of_another_form_are_refused() -> None:
    """Other shapes and types are named."""
    vectors = floats(1, 50, 6)
    cells = cells_of("l2", vectors, 5)
    with pytest.raises(ValueError, match="cells: bounds: expected shape"):
        builder(base=cells._replace(bounds=cells.bounds[:-1].copy()))
    with pytest.raises(ValueError, match="base: rows: expected 1 to 50, got 0"):
        builder(base=cells._replace(rows=cells.rows[:0].copy()))
    with pytest.raises(TypeError, match="cells: rows: expected an array of uint32, got int32"):
        builder(base=cells._replace(rows=cells.rows.view(np.int32)))
