"""The rows that a search may not find, by id: looked up once a request and part.

Who asks once often asks again (the next page, another interest of the same user), and the members
of a set stay the same between its changes, so a segment keeps the bitmaps of large columns of ids.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from isal.isal_zlib import crc32

from fanlight.ids import among
from fanlight.model import IdColumn, Rows
from fanlight_server.index.bits import Bits, packed

if TYPE_CHECKING:
    from fanlight_server.index.view import Part

_Key: TypeAlias = tuple[int, int]

# Looking up fewer ids takes less time than to find out that they were looked up before.
_KEPT_IDS_MIN = 1_024
# Rows are hashed so many times faster than ids are searched for.
_HASHED = 8
# Of columns and their bitmaps, by segment: the last twenty of 100,000 ids.
_KEPT_BYTES = 16 << 20
# A string id with its object, roughly: it lives on in a bitmap's column when its set has changed.
_STRING_BYTES = 100


class KeptRows:
    """The bitmaps of columns of ids that were looked up last. Safe for many threads."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        """Keep at most so many bytes."""
        # constant after construction
        self._most_bytes = most_bytes
        # guards what is kept, that used last at the end
        self._lock = Lock()
        self._kept: OrderedDict[_Key, tuple[IdColumn, Bits]] = OrderedDict()
        self._bytes = 0

    def get(self, key: _Key, column: IdColumn) -> Bits | None:
        """Give the bitmap of a column, if it is kept; compared id by id, since hashes collide."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None and (kept[0] is column or _are_equal(kept[0], column)):
            return kept[1]
        return None

    def put(self, key: _Key, column: IdColumn, bits: Bits) -> None:
        """Keep a bitmap, and drop those not used for longest when there are too many bytes."""
        with self._lock:
            self._drop(key)
            self._kept[key] = column, bits
            self._bytes += _bytes_of(column, bits)
            while self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._bytes -= _bytes_of(*dropped)


def _bytes_of(column: IdColumn, bits: Bits) -> int:
    one = _STRING_BYTES if column.dtype == object else column.itemsize
    return len(column) * one + bits.nbytes


class Excluded:
    """Columns of ids, and the rows of them in the parts of one view. For one search.

    Args:
        ids: of the request; None for none. Each column is ascending, each id once.
        sets: columns of sets, which stay the same until a set changes.
    """

    def __init__(self, ids: IdColumn | None = None, sets: Sequence[IdColumn] = ()) -> None:
        given = [] if ids is None else [(ids, _key_of(ids))]
        of_sets = [(column, _key_of_set(column)) for column in sets]
        self._columns = [(column, key) for column, key in (*given, *of_sets) if len(column)]
        self._kept: dict[int, Bits] = {}

    def kept(self, part: Part) -> Bits | None:
        """Tell which rows of a part are not excluded: packed bits; None for all of them."""
        if not self._columns:
            return None
        bits = self._kept.get(id(part))
        if bits is None:
            each = [_bits(part, column, key) for column, key in self._columns]
            bits = self._kept[id(part)] = np.bitwise_and.reduce(each)
        return bits


def _key_of(column: IdColumn) -> _Key | None:
    """Give what equal columns have in common; None for those that are not worth keeping."""
    if len(column) < _KEPT_IDS_MIN or column.dtype == object:
        return None
    return len(column), crc32(np.ascontiguousarray(column).view(np.uint8).data)


def _key_of_set(column: IdColumn) -> _Key | None:
    """Give what tells the column of a set from others: it is the same one until the set changes."""
    return None if len(column) < _KEPT_IDS_MIN else (len(column), id(column))


def _are_equal(one: IdColumn, other: IdColumn) -> bool:
    return one.dtype != object and np.array_equal(one, other)


def _bits(part: Part, column: IdColumn, key: _Key | None) -> Bits:
    """Tell which rows of a part do not have these ids."""
    kept = part.source.kept_rows
    bits = None if key is None or kept is None else kept.get(key, column)
    if bits is None:
        rows = np.ones(len(part.block), dtype=np.bool_)
        rows[_rows_of(part, column)] = False
        bits = packed(rows)
        if key is not None and kept is not None:
            kept.put(key, column, bits)
    return bits


def _rows_of(part: Part, column: IdColumn) -> Rows:
    """Find the rows with these ids.

    Both columns ascend in the lookup of a segment, which reads them front to back: 100,000 among a
    million take 14 ms, where to look the rows up among the ids took 266. A head has few rows, in
    no order; strings are hashed unless they are few, since a binary search compares each 17 times.
    """
    ids = part.block.ids
    hashed = column.dtype == object and len(ids) <= _HASHED * len(column)
    if part.indexed and not hashed:
        rows = part.rows_of(column)
        return rows[rows >= 0]
    if column.dtype == object:
        return np.flatnonzero(among(ids, column))
    at = np.minimum(np.searchsorted(column, ids), len(column) - 1)
    return np.flatnonzero(column[at] == ids)
