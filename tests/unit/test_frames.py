"""A data frame of pandas or polars becomes the columns that were in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

import fanlight

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
COLUMNS: dict[str, Any] = {
    "id": ["a", "b", "c", "d"],
    "vector": VECTORS.tolist(),
    "year": [1990, 1991, 1992, 1993],
    "price": [1.5, None, 2.0, 2.5],
    "day": [date(2026, 11, 20), None, date(2026, 11, 22), date(2026, 11, 23)],
    "tags": [["x"], ["y", "z"], [], ["x"]],
}
MAKERS = [pandas.DataFrame, polars.DataFrame]


@pytest.mark.parametrize("make", MAKERS)
def test_all_columns(make: Callable[[Any], Any]) -> None:
    """Ids, vectors, and every other column as payload; what is missing is left out."""
    ids, vectors, payloads = fanlight.from_frame(make(COLUMNS))
    assert ids == COLUMNS["id"]
    np.testing.assert_array_equal(vectors, VECTORS)
    assert payloads is not None
    assert payloads[0] == {"year": 1990, "price": 1.5, "day": "2026-11-20", "tags": ["x"]}
    assert payloads[1] == {"year": 1991, "tags": ["y", "z"]}


@pytest.mark.parametrize("make", MAKERS)
def test_numbers_in_columns_of_their_own(make: Callable[[Any], Any]) -> None:
    """A vector may be spread over columns; without an id column, row numbers are the ids."""
    frame = make({f"e{i}": VECTORS[:, i] for i in range(3)})
    ids, vectors, payloads = fanlight.from_frame(frame, id=None, vector=["e0", "e1", "e2"])
    assert ids == [0, 1, 2, 3]
    np.testing.assert_array_equal(vectors, VECTORS)
    assert payloads is None


def test_fixed_size_lists_of_polars() -> None:
    """A column of polars' Array is a matrix already."""
    frame = polars.DataFrame({"id": [1, 2, 3, 4], "vector": VECTORS})
    assert isinstance(frame["vector"].dtype, polars.Array)
    np.testing.assert_array_equal(fanlight.from_frame(frame).vectors, VECTORS)


@pytest.mark.parametrize("make", MAKERS)
def test_a_missing_column_is_named(make: Callable[[Any], Any]) -> None:
    """The refusal says which column, and which there are."""
    with pytest.raises(fanlight.InvalidRequest, match="a column 'sku', got id, vector, year"):
        fanlight.from_frame(make(COLUMNS), id="sku")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("bad", [None, [1.0]])
def test_a_row_without_a_fitting_vector_is_named(make: Callable[[Any], Any], bad: Any) -> None:
    """Missing, or of another length: the error names the row."""
    frame = make({"id": [1, 2, 3], "vector": [[1.0, 2.0], [3.0, 4.0], bad]})
    with pytest.raises(fanlight.InvalidRequest, match="row 2: vector: expected"):
        fanlight.from_frame(frame)


def test_what_is_no_frame_is_refused() -> None:
    """A list of rows is not taken for a frame."""
    with pytest.raises(fanlight.InvalidRequest, match="frame: expected a pandas or polars"):
        fanlight.from_frame([{"id": 1}])
