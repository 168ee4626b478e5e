"""Conditions as intervals of keys: what a column compares.

A column holds one key for each value: integers and floats are their own keys, false and true are
0 and 1, and a keyword is the code that the column gave it. So every condition on a field is a
list of intervals, and each kind of column needs one way to search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.filters import Clause, FieldType, IsIn, Number, Range, Value

Keys: TypeAlias = NDArray[Any]

KEY_DTYPES: dict[FieldType, np.dtype[Any]] = {
    FieldType.KEYWORD: np.dtype("<i8"),
    FieldType.INT: np.dtype("<i8"),
    FieldType.FLOAT: np.dtype("<f8"),
    FieldType.BOOL: np.dtype("u1"),
    FieldType.TIME: np.dtype("<i8"),
}
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_INTEGERS = (FieldType.INT, FieldType.TIME)
# Every key is between these two.
_EXTREMES: dict[FieldType, tuple[Number, Number]] = {
    FieldType.KEYWORD: (0, _INT64_MAX),
    FieldType.INT: (_INT64_MIN, _INT64_MAX),
    FieldType.FLOAT: (-math.inf, math.inf),
    FieldType.BOOL: (0, 1),
    FieldType.TIME: (_INT64_MIN, _INT64_MAX),
}


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of keys, ends included; ascending, none touching another.

    Attributes:
        lows: (i,) the first key of each.
        highs: (i,) the last key of each.
    """

    lows: Keys
    highs: Keys

    def holds(self, keys: Keys) -> NDArray[np.bool_]:
        """Tell which of (n,) keys are in an interval."""
        if not len(self.lows):
            return np.zeros(len(keys), dtype=np.bool_)
        if len(self.lows) == 1:
            inside: NDArray[np.bool_] = (keys >= self.lows[0]) & (keys <= self.highs[0])
            return inside
        at = np.searchsorted(self.lows, keys, side="right") - 1
        below: NDArray[np.bool_] = keys <= self.highs[at]
        return below & (at >= 0)


def intervals_of(
    clause: Clause, type_: FieldType, code_of: Callable[[str], int | None]
) -> Intervals:
    """Turn a condition into intervals of a column's keys.

    Args:
        clause: the condition; it suits the type (see `fanlight.filter_rules`).
        type_: of the column.
        code_of: gives the code of a keyword; None when the column does not have it.
    """
    if isinstance(clause, IsIn):
        keys = _keys_of(clause.values, type_, code_of)
        points = np.array(sorted(keys), dtype=KEY_DTYPES[type_])
        return Intervals(points, points)
    low, high = _EXTREMES[type_]
    if isinstance(clause, Range):
        low, high = _int_range(clause) if type_ in _INTEGERS else _float_range(clause)
    ends = [(low, high)] if low <= high else []
    column = np.array(ends, dtype=KEY_DTYPES[type_]).reshape(-1, 2)
    return Intervals(column[:, 0], column[:, 1])


def _keys_of(
    values: Iterable[Value], type_: FieldType, code_of: Callable[[str], int | None]
) -> set[Number]:
    if type_ is FieldType.KEYWORD:
        codes = (code_of(str(value)) for value in values)
        return {code for code in codes if code is not None}
    convert = float if type_ is FieldType.FLOAT else int
    low, high = _EXTREMES[type_]
    keys = ((convert(value), value) for value in values)
    # what is another number once converted equals no value of the field: 0.5 no integer
    return {key for key, value in keys if key == value and low <= key <= high}


def _int_range(bounds: Range) -> tuple[int, int]:
    """Give the least and the greatest int64 within bounds, which may be floats."""
    low, high = _INT64_MIN, _INT64_MAX
    if bounds.gte is not None:
        low = max(low, math.ceil(bounds.gte))
    if bounds.gt is not None:
        low = max(low, math.floor(bounds.gt) + 1)
    if bounds.lte is not None:
        high = min(high, math.floor(bounds.lte))
    if bounds.lt is not None:
        high = min(high, math.ceil(bounds.lt) - 1)
    return low, high


def _float_range(bounds: Range) -> tuple[float, float]:
    """Give the least and the greatest float64 within bounds, which may be integers.

    An integer beyond 2^53 may be no float64; Python compares the two exactly.
    """
    low, high = -math.inf, math.inf
    if bounds.gte is not None:
        low = max(low, _step(float(bounds.gte), float(bounds.gte) < bounds.gte, math.inf))
    if bounds.gt is not None:
        low = max(low, _step(float(bounds.gt), float(bounds.gt) <= bounds.gt, math.inf))
    if bounds.lte is not None:
        high = min(high, _step(float(bounds.lte), float(bounds.lte) > bounds.lte, -math.inf))
    if bounds.lt is not None:
        high = min(high, _step(float(bounds.lt), float(bounds.lt) >= bounds.lt, -math.inf))
    return low, high


def _step(number: float, needed: bool, towards: float) -> float:
    return math.nextafter(number, towards) if needed else number
