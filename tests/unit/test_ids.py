"""Columns of ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pieces import ids_of

from fanlight.errors import InvalidRequest
from fanlight.ids import among, ascending, empty, id_type_of, last_occurrences, sort_keys, to_column
from fanlight.model import IdType

INT64 = np.iinfo(np.int64)


@pytest.mark.parametrize(
    "ids",
    [
        [3, 1, 2],
        (3, 1, 2),
        range(3),
        [np.int32(3), 1],
        np.array([3, 1], dtype=np.uint8),
        np.array([3, 1], dtype=object),
        [INT64.min, INT64.max],
        [],
    ],
)
def test_integers_become_int64(ids: Any) -> None:
    """Integers of any kind become an int64 column of the same values."""
    column = to_column(ids)
    assert column.dtype == np.int64
    assert column.tolist() == [int(value) for value in ids]


@pytest.mark.parametrize(
    "ids", [["b", "a"], np.array(["b", "a"]), np.array(["b", "a"], dtype=object), ("", "ä", "𐍈")]
)
def test_strings_become_objects_that_are_str(ids: Any) -> None:
    """Strings of any kind become a column of plain `str`."""
    column = to_column(ids)
    assert column.dtype == object
    assert column.tolist() == list(ids)
    assert {type(value) for value in column} == {str}


@pytest.mark.parametrize(
    ("ids", "named"),
    [
        ([1, "a"], "string"),
        ([1.0, 2.0], "float"),
        (np.array([1.0]), "float64"),
        ([True, 2], "bool"),
        ([None], "NoneType"),
        ([b"a"], "bytes"),
        ([INT64.max + 1], str(INT64.max + 1)),
        ([INT64.min - 1], str(INT64.min - 1)),
        (np.array([2**63], dtype=np.uint64), str(2**63)),
        (np.zeros((2, 2), dtype=np.int64), "2 dimensions"),
    ],
)
def test_anything_else_is_refused(ids: Any, named: str) -> None:
    """What is not all integers of 64 bits or all strings is refused with what was found."""
    with pytest.raises(InvalidRequest, match="ids: expected") as caught:
        to_column(ids)
    assert named in caught.value.got


def test_a_column_is_a_copy() -> None:
    """A column does not change when the caller's array does."""
    ids = np.array([1, 2, 3])
    column = to_column(ids)
    ids[0] = 9
    assert column.tolist() == [1, 2, 3]


def test_missing_ids_are_marked() -> None:
    """A missing id is -1 or None, whose column tells its type."""
    assert empty(IdType.INT64, (1, 2)).tolist() == [[-1, -1]]
    assert empty(IdType.STRING, 2).tolist() == [None, None]
    assert [id_type_of(empty(kind)) for kind in IdType] == list(IdType)


@given(
    st.one_of(
        st.lists(st.integers(0, 5), min_size=1),
        st.lists(st.sampled_from(["a", "b", "ä", ""]), min_size=1),
    )
)
def test_the_last_of_equal_ids_is_kept(ids: list[Any]) -> None:
    """Each id keeps its last row, the rows before it are told, and both are ascending."""
    kept, superseded = last_occurrences(to_column(ids))
    last = {value: row for row, value in enumerate(ids)}
    assert kept.tolist() == sorted(last.values())
    assert superseded.tolist() == [row for row in range(len(ids)) if row not in kept]


@given(st.lists(st.text(max_size=3), min_size=1, max_size=8))
def test_strings_sort_by_code_point(ids: list[str]) -> None:
    """Sort keys order strings as their UTF-8 bytes, and a missing one comes first."""
    keys = sort_keys(np.array([*ids, None], dtype=object))
    assert keys[-1] == keys.min()
    by_key = [ids[row] for row in np.argsort(keys[:-1], kind="stable")]
    assert by_key == sorted(ids, key=lambda value: value.encode())


def test_integers_are_their_own_sort_keys() -> None:
    """int64 ids sort by value, in any shape."""
    block = np.array([[5, -1], [-7, 2]], dtype=np.int64)
    np.testing.assert_array_equal(sort_keys(block), block)


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize(("n", "others"), [(0, 3), (3, 0), (50, 20), (20, 50)])
def test_ids_among_others_are_told(id_type: IdType, n: int, others: int) -> None:
    """In any order, of either type."""
    rng = np.random.default_rng(n)
    column = ids_of(rng.integers(0, 40, n), id_type)
    wanted = ids_of(rng.integers(0, 40, others), id_type)
    expected = [value in wanted.tolist() for value in column.tolist()]
    assert among(column, wanted).tolist() == expected


@pytest.mark.parametrize("low", [-(2**63), -(2**40), -7, 0, 12, 2**62])
@pytest.mark.parametrize("span", [1, 500, 20_000, 2**32 - 1, 2**32, 2**40, 2**63 - 1])
def test_a_column_ascends_with_each_id_once(low: int, span: int) -> None:
    """However far apart ids are, and whatever order they have."""
    rng = np.random.default_rng(span)
    high = min(low + span, 2**63 - 1)
    drawn = rng.integers(low, high, 2_000, endpoint=True)
    column = np.concatenate([drawn, [high, low], drawn[:9]])
    expected = np.unique(column)
    np.testing.assert_array_equal(ascending(column), expected)
    assert ascending(expected) is expected
