"""Columns of ids: int64 arrays, or object arrays of str.

Laws: a column has one type; the order of ids is numeric for int64 and by code point for
strings (which equals the order of their UTF-8 bytes).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest
from fanlight.model import NO_ID, IdColumn, IdType, Rows

# Ids so many times as far apart as there are of them are sorted by marking them.
_CLOSE = 8
# So many tell at once of most columns that they are in no order.
_FIRST = 64
# What a caller may hand over as a column of ids.
IdsLike = Sequence[int] | Sequence[str] | NDArray[Any]


def to_column(
    ids: IdsLike | Iterable[int] | Iterable[str], field: str = "ids", *, copy: bool = True
) -> IdColumn:
    """Turn integers or strings into an id column.

    Args:
        ids: the integers or strings.
        field: what errors call them.
        copy: make another array of an int64 array too; False for who only reads it at once.

    Returns:
        (n,) int64, or (n,) objects that are str.

    Raises:
        InvalidRequest: the ids are neither all integers in the range of int64 nor all strings,
            or have more than one dimension.
    """
    expected = "integers or strings, all of one kind"
    array = ids if isinstance(ids, np.ndarray) else np.asarray(_as_objects(ids), dtype=object)
    if array.ndim != 1:
        raise InvalidRequest.of_field(field, "one dimension", f"{array.ndim} dimensions")
    if array.dtype.kind in "iu":
        return _checked_int64(array, field, copy=copy)
    if array.dtype.kind in "UT":
        return array.astype(object)
    if array.dtype.kind != "O":
        raise InvalidRequest.of_field(field, expected, f"an array of {array.dtype}")
    kinds = {_kind(value) for value in array}
    if kinds == {"string"}:
        return _as_objects(str(value) for value in array)
    if kinds <= {"integer"}:
        return _checked_int64(array, field, copy=copy)
    kinds.discard("integer")
    raise InvalidRequest.of_field(field, expected, " and ".join(sorted(kinds)) + " among them")


def _as_objects(ids: Iterable[Any]) -> NDArray[np.object_]:
    values = list(ids)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_)):
        return "integer"
    return type(value).__name__


def _checked_int64(array: NDArray[Any], field: str, *, copy: bool) -> NDArray[np.int64]:
    limits = np.iinfo(np.int64)
    if (
        not np.can_cast(array.dtype, np.int64)
        and array.size
        and (int(array.max()) > limits.max or int(array.min()) < limits.min)
    ):
        got = int(array.max()) if int(array.max()) > limits.max else int(array.min())
        raise InvalidRequest.of_field(field, "integers that fit int64", str(got))
    return array.astype(np.int64, copy=copy)


def id_type_of(column: IdColumn) -> IdType:
    """Tell the type of a column."""
    return IdType.STRING if column.dtype == object else IdType.INT64


def empty(id_type: IdType, shape: int | tuple[int, ...] = 0) -> IdColumn:
    """Make a block of missing ids: -1, or None."""
    if id_type is IdType.STRING:
        return np.full(shape, None, dtype=object)
    return np.full(shape, NO_ID, dtype=np.int64)


def column_of(id: int | str) -> IdColumn:
    """Make a column of one id.

    Raises:
        InvalidRequest: it is neither an integer in the range of int64 nor a string.
    """
    return to_column(_as_objects([id]))


def joined(columns: Sequence[IdColumn], axis: int = 0) -> IdColumn:
    """Put columns (or blocks) of one type together."""
    parts: list[NDArray[Any]] = list(columns)
    return np.concatenate(parts, axis=axis)


def last_occurrences(column: IdColumn) -> tuple[Rows, Rows]:
    """Split the rows of a batch where an id may stand more than once.

    Returns:
        Two ascending row arrays: the last row of each id, and the rows before it.
    """
    reversed_first = np.unique(column[::-1], return_index=True)[1]
    kept = np.sort(len(column) - 1 - reversed_first)
    superseded = np.setdiff1d(np.arange(len(column)), kept, assume_unique=True)
    return kept.astype(np.int64), superseded.astype(np.int64)


def sort_keys(column: IdColumn) -> Rows:
    """Give int64 keys that sort as the ids do; missing ids get the smallest key."""
    if column.dtype != object:
        return column.astype(np.int64, copy=False)
    filled = np.where(column == None, "", column)  # noqa: E711  elementwise, not identity
    keys: Rows = np.unique(filled, return_inverse=True)[1].astype(np.int64).reshape(column.shape)
    return keys


def among(column: IdColumn, others: IdColumn) -> NDArray[np.bool_]:
    """Tell of each id whether it is among others, in any order.

    Strings are hashed: `np.isin` compares each with each, which took 2.9 s for 100,000 with 1,000.

    Returns:
        (n,) bool.
    """
    if column.dtype != object:
        return np.isin(column, others)
    values = set(others.tolist())
    return np.fromiter(map(values.__contains__, column.tolist()), np.bool_, len(column))


def ascending(column: IdColumn) -> IdColumn:
    """Sort ids, each once; a column that is so already is given back.

    By marking them where they lie close together, in half of the time of sorting, and else by
    sorting: `np.unique` hashes, which took 229 ms for 100,000 integers against 6.
    """
    if _ascends(column[:_FIRST]) and _ascends(column):
        return column
    if column.dtype == object:
        return _once(np.sort(column))
    low, high = int(column.min()), int(column.max())
    if high - low < _CLOSE * len(column):
        return _marked(cast(Rows, column), low, high - low + 1)
    if high - low < 2**32:  # half of the bytes are sorted in half of the time
        offsets = _once(np.sort((column - low).astype(np.uint32)))
        return cast(IdColumn, offsets.astype(np.int64) + low)
    return _once(np.sort(column))


def _ascends(column: IdColumn) -> bool:
    return bool((column[1:] > column[:-1]).all())


def _once(ordered: NDArray[Any]) -> IdColumn:
    """Leave out what stands again."""
    differ = ordered[1:] != ordered[:-1]
    return cast(IdColumn, ordered if differ.all() else ordered[np.concatenate(([True], differ))])


def _marked(column: Rows, low: int, span: int) -> Rows:
    """Sort ids from `low` on, each once."""
    marks = np.zeros(span, dtype=np.bool_)
    marks[column - low if low else column] = True
    ids: Rows = np.flatnonzero(marks)
    ids += low
    return ids
