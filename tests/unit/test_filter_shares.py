"""Filters made to leave a share of the items leave it: numpy counts what they leave."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.conditions import FilterLike
from fanlight.errors import InvalidRequest
from fanlight.evaluation import filters_by
from fanlight.evaluation.shares import ALL, Count
from fanlight.filters import FieldType, microseconds

INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def counting(values: list[Any], without: int = 0) -> Count:
    """Count items of which some have a value and some have none."""

    def count(*, filter: FilterLike | None = None) -> int:
        if filter is None:
            return len(values) + without
        assert isinstance(filter, dict)
        return sum(value >= filter["x"]["gte"] for value in values)

    return count


@given(
    st.one_of(
        st.tuples(st.just(FieldType.INT), st.lists(INTS | st.integers(-5, 5), min_size=1)),
        st.tuples(st.just(FieldType.FLOAT), st.lists(FLOATS | st.just(0.5), min_size=1)),
    ),
    st.integers(0, 5),
    st.floats(0.001, 0.999),
)
def test_the_greatest_value_that_leaves_enough(
    typed: tuple[FieldType, list[Any]], without: int, share: float
) -> None:
    """It is a value that items have; it leaves at least the share, and the next one does not."""
    type_, values = typed
    (filter,) = filters_by("x", {"x": type_}, (share,), counting(values, without)).values()
    assert filter is not None
    least = filter["x"]["gte"]
    wanted = min(max(1, round(share * (len(values) + without))), len(values))
    column = np.array(values)
    assert least in values
    assert (column >= least).sum() >= wanted
    assert (column > least).sum() < wanted


def test_labels_are_for_people() -> None:
    """All items have no filter; moments are written as such; equal filters come once."""
    moments = [microseconds(datetime(2026, 1, day, 12, tzinfo=UTC)) for day in range(1, 31)]
    filters = filters_by("x", {"x": FieldType.TIME}, (1, 0.5, 0.1, 0.1001), counting(moments))
    assert list(filters) == [
        ALL,
        "x >= 2026-01-16T12:00:00+00:00",
        "x >= 2026-01-28T12:00:00+00:00",
    ]
    assert filters[ALL] is None


@pytest.mark.parametrize("field", ["name", "y"])
def test_other_fields_are_refused(field: str) -> None:
    """With the names of those that have an order."""
    fields = {"x": FieldType.INT, "name": FieldType.KEYWORD}
    with pytest.raises(InvalidRequest, match=rf"by: expected .* \(x\), got '{field}'"):
        filters_by(field, fields, (0.5,), counting([1]))


def test_a_field_that_no_item_has_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="by: expected a field that items have"):
        filters_by("x", {"x": FieldType.INT}, (0.5,), counting([], 9))
