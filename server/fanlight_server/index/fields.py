"""The filterable fields of the rows of a block, and which rows a filter allows.

Laws: what is allowed is one packed bitmap. That of a segment's rows never changes, so the last
few are kept; tombstones are not in it. A field that a payload lacks accepts nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from threading import Lock

import numpy as np

from fanlight.fields import FieldValues
from fanlight.filters import (
    AllOf,
    AnyOf,
    Exists,
    FieldType,
    Filter,
    IsIn,
    Not,
    Range,
    clauses_of,
    parts_of,
)
from fanlight.model import Rows
from fanlight_server.index.bits import Bits, complement
from fanlight_server.index.columns import Column, GrowingColumn, merge

# Bitmaps kept for one segment: a byte a row for each 8. The values of a field that most searches
# name are few.
_KEPT = 64
# A filter of more values is likely to be asked once: what somebody has seen, say. As a key it would
# take more room than its bitmap.
_KEPT_VALUES = 256


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """The columns of n rows.

    Attributes:
        rows: n.
        columns: one for each filterable field that was declared when they were made; what they
            hold is told by the payloads and the type, so it stays true for as long as the rows do.
        kept: bitmaps of filters evaluated before; None for rows that may still become more.
    """

    rows: int
    columns: Mapping[str, Column]
    kept: KeptBitmaps | None = None

    def allowed(self, filter: Filter) -> Bits:
        """Tell which rows satisfy a filter on these fields. Nobody may write to the answer.

        Returns:
            Packed bits, see `fanlight_server.index.bits`.
        """
        bits = None if self.kept is None else self.kept.get(filter)
        if bits is None:
            bits = self._evaluate(filter)
            if self.kept is not None and _is_small(filter):
                self.kept.put(filter, bits)
        return bits

    def lacking(self, filterable: Mapping[str, FieldType]) -> dict[str, FieldType]:
        """Tell which fields have no column here, or one of another type."""
        return {
            name: type_
            for name, type_ in filterable.items()
            if name not in self.columns or self.columns[name].type_ is not type_
        }

    def _evaluate(self, filter: Filter) -> Bits:
        if isinstance(filter, (IsIn, Range, Exists)):
            return self.columns[filter.field].matching(filter)
        parts = [self.allowed(part) for part in parts_of(filter)]
        if isinstance(filter, AllOf):
            return reduce(np.bitwise_and, parts)
        if isinstance(filter, AnyOf):
            return reduce(np.bitwise_or, parts)
        assert isinstance(filter, Not)
        return complement(parts[0], self.rows)


def _is_small(filter: Filter) -> bool:
    clauses = clauses_of(filter)
    values = sum(len(clause.values) for clause in clauses if isinstance(clause, IsIn))
    return values <= _KEPT_VALUES


class KeptBitmaps:
    """The bitmaps of the filters used last. Safe for many threads."""

    def __init__(self, most: int = _KEPT) -> None:
        """Keep at most so many."""
        # constant after construction
        self._most = most
        # guards the bitmaps, the one used last at the end
        self._lock = Lock()
        self._bitmaps: OrderedDict[Filter, Bits] = OrderedDict()

    def get(self, filter: Filter) -> Bits | None:
        """Give the bitmap of a filter, if it is kept."""
        with self._lock:
            bits = self._bitmaps.get(filter)
            if bits is not None:
                self._bitmaps.move_to_end(filter)
            return bits

    def put(self, filter: Filter, bits: Bits) -> None:
        """Keep a bitmap, and drop the one not used for longest if there are too many."""
        with self._lock:
            self._bitmaps[filter] = bits
            if len(self._bitmaps) > self._most:
                self._bitmaps.popitem(last=False)


class GrowingFields:
    """The fields of a head. Only the collection's writer touches them."""

    def __init__(self, filterable: Mapping[str, FieldType]) -> None:
        """Make empty columns."""
        self._rows = 0
        self._columns = {name: GrowingColumn(type_) for name, type_ in filterable.items()}

    def append(self, rows: int, values: Sequence[FieldValues]) -> None:
        """Add the values of the next rows; of none of them when no field is filterable."""
        for name, column in self._columns.items():
            column.append(self._rows, [of_row.get(name, ()) for of_row in values])
        self._rows += rows

    def shown(self) -> Fields:
        """Show the rows so far."""
        columns = {name: column.shown() for name, column in self._columns.items()}
        return Fields(self._rows, columns)


def no_fields(rows: int) -> Fields:
    """Make the fields of rows of which none is filterable."""
    return Fields(rows, {})


def merge_fields(parts: Sequence[Fields], places: Sequence[Rows], rows: int) -> Fields:
    """Make the fields of a segment from those of the parts that it replaces.

    Args:
        parts: the fields of the parts, at least one; all of the same names and types.
        places: for each part (rows,) int64, the row of the segment that each row becomes; -1 for
            none.
        rows: of the segment.
    """
    columns = {
        name: merge([part.columns[name] for part in parts], places, rows)
        for name in parts[0].columns
    }
    return Fields(rows, columns, KeptBitmaps())
