"""The rows that a search may not find, by id: looked up once a request and part.

The members of a set stay the same between its changes, so a segment keeps the bitmaps of large sets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, cast

import numpy as np

from fanlight.ids import among
from fanlight.joined_ids import JoinedIds
from fanlight.model import IdColumn, Rows
from fanlight.packed_ids import PackedIds
from fanlight_server.index.bits import Bits, packed

if TYPE_CHECKING:
    from fanlight_server.index.view import Part

# Looking up fewer ids takes as long as to keep their rows.
_KEPT_IDS_MIN = 1_024
# Of columns and their bitmaps, by segment: the last twenty of 100,000 ids.
_KEPT_BYTES = 16 << 20
# A string id with its object, roughly: it lives on in a bitmap's column when its set has changed.
_STRING_BYTES = 100


class KeptRows:
    """The bitmaps of the sets that were looked up last. Safe for many threads."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        """Keep at most so many bytes."""
        # constant after construction
        self._most_bytes = most_bytes
        # guards what is kept, by the identity of the column; that used last at the end
        self._lock = Lock()
        self._kept: OrderedDict[int, tuple[IdColumn, Bits]] = OrderedDict()
        self._bytes = 0

    def get(self, column: IdColumn) -> Bits | None:
        """Give the bitmap of a column, if it is kept."""
        with self._lock:
            kept = self._kept.get(id(column))
            if kept is None or kept[0] is not column:
                return None
            self._kept.move_to_end(id(column))
            return kept[1]

    def put(self, column: IdColumn, bits: Bits) -> None:
        """Keep a bitmap, and drop those not used for longest when there are too many bytes."""
        with self._lock:
            self._drop(id(column))
            self._kept[id(column)] = column, bits
            self._bytes += _bytes_of(column, bits)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: int) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._bytes -= _bytes_of(*dropped)


def _bytes_of(column: IdColumn, bits: Bits) -> int:
    one = _STRING_BYTES if column.dtype == object else column.itemsize
    return len(column) * one + bits.nbytes


class Excluded:
    """Columns of ids, and the rows of them in the parts of one view. For one search.

    Args:
        ids: of the request, in any order; None for none.
        sets: columns of sets, which stay the same until a set changes.
    """

    def __init__(
        self, ids: IdColumn | PackedIds | JoinedIds | None = None, sets: Sequence[IdColumn] = ()
    ) -> None:
        self._ids = ids if ids is not None and len(ids) else None
        self._sets = [column for column in sets if len(column)]
        self._kept: dict[int, Bits] = {}

    def kept(self, part: Part) -> Bits | None:
        """Tell which rows of a part are not excluded: packed bits; None for all of them."""
        if self._ids is None and not self._sets:
            return None
        bits = self._kept.get(id(part))
        if bits is None:
            each = [_bits_of_set(part, column) for column in self._sets]
            if self._ids is not None:
                each.append(_bits(part, self._ids))
            bits = self._kept[id(part)] = np.bitwise_and.reduce(each)
        return bits


def _bits_of_set(part: Part, column: IdColumn) -> Bits:
    kept = part.source.kept_rows
    if kept is None or len(column) < _KEPT_IDS_MIN:
        return _bits(part, column)
    bits = kept.get(column)
    if bits is None:
        bits = _bits(part, column)
        kept.put(column, bits)
    return bits


def _bits(part: Part, ids: IdColumn | PackedIds | JoinedIds) -> Bits:
    """Tell which rows of a part do not have these ids."""
    if isinstance(ids, np.ndarray) and ids.dtype == object:
        joined = JoinedIds.of(ids.tolist())
        if joined is None:  # one holds a NUL
            return packed(~among(part.block.ids, ids))
        return part.rows_without(joined)
    return part.rows_without(cast("Rows | PackedIds | JoinedIds", ids))
