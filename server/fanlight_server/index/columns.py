"""One filterable field of many rows, searched by value.

Laws: a column says which rows have a value that a condition accepts; a row may have several
values, or none. The column of a head grows and is compared entry by entry; that of a segment is
sorted by value, so that a condition is a few slices of its rows (an inverted list; J. Zobel and
A. Moffat, "Inverted files for text search engines", 2006). What a reader was shown is never
written to again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from fanlight.filters import Clause, FieldType, Value
from fanlight.model import Rows
from fanlight_server.index.bits import Bits, packed
from fanlight_server.index.intervals import KEY_DTYPES, Keys, intervals_of
from fanlight_server.index.keywords import Keywords, joined

RowNumbers = NDArray[np.uint32]

_CAPACITY_MIN = 64
# The entries of a segment's column are cut into so many runs whose bitmaps are kept: 4 bytes a row.
_RUNS = 32
# To set so many rows one by one takes 3 microseconds (measured), so shorter runs would not pay.
_RUN_MIN = 1_024


@dataclass(frozen=True, slots=True)
class Entries:
    """The values of a column, one by one, in any order.

    Attributes:
        keys: (e,) the key of each value; of keywords, its place in the table.
        rows: (e,) uint32, the row that has it.
        keywords: the table; None for other types.
    """

    keys: Keys
    rows: RowNumbers
    keywords: Keywords | None


@dataclass(frozen=True, slots=True)
class HeadColumn:
    """The column of a head, as far as a view shows it.

    Attributes:
        type_: of the field.
        n: rows of the head.
        keys: (e,) the key of each value, in order of arrival.
        rows: (e,) uint32, ascending.
        codes: the keys of keywords; others may be added while this is read, which no key shown
            refers to.
    """

    type_: FieldType
    n: int
    keys: Keys
    rows: RowNumbers
    codes: dict[str, int]

    def matching(self, clause: Clause) -> Bits:
        """Tell for each row whether some value of it is accepted."""
        intervals = intervals_of(clause, self.type_, self.codes.get)
        return _bits_of(self.n, [self.rows[intervals.holds(self.keys)]])

    def entries(self) -> Entries:
        """List all values; of a head that no longer grows."""
        keywords = Keywords.of(list(self.codes)) if self.type_ is FieldType.KEYWORD else None
        return Entries(self.keys, self.rows, keywords)


class GrowingColumn:
    """The column of a head. Only the collection's writer touches it."""

    def __init__(self, type_: FieldType) -> None:
        """Make an empty column."""
        self._type = type_
        self._n = self._size = 0
        self._keys = np.empty(_CAPACITY_MIN, dtype=KEY_DTYPES[type_])
        self._rows = np.empty(_CAPACITY_MIN, dtype=np.uint32)
        self._codes: dict[str, int] = {}

    def append(self, first_row: int, values: Sequence[Sequence[Value]]) -> None:
        """Add the values of the next rows, one list a row."""
        counts = np.fromiter(map(len, values), np.int64, len(values))
        rows = np.repeat(np.arange(first_row, first_row + len(values)), counts)
        flat: Iterable[Value] = chain.from_iterable(values)
        if self._type is FieldType.KEYWORD:
            codes = self._codes
            flat = (codes.setdefault(str(value), len(codes)) for value in flat)
        new = slice(self._size, self._size + len(rows))
        self._reserve(new.stop)
        self._keys[new] = np.fromiter(flat, self._keys.dtype, len(rows))
        self._rows[new] = rows
        self._n, self._size = first_row + len(values), new.stop

    def _reserve(self, size: int) -> None:
        if size > len(self._keys):
            # into new arrays: readers keep those that they were shown
            room = max(size, 2 * len(self._keys)) - self._size
            self._keys = np.concatenate(
                (self._keys[: self._size], np.empty(room, self._keys.dtype))
            )
            self._rows = np.concatenate((self._rows[: self._size], np.empty(room, np.uint32)))

    def shown(self) -> HeadColumn:
        """Show the values so far."""
        shown = slice(0, self._size)
        return HeadColumn(self._type, self._n, self._keys[shown], self._rows[shown], self._codes)


@dataclass(frozen=True)
class Postings:
    """The column of a segment: the rows of each value, value after value.

    Attributes:
        type_: of the field.
        n: rows of the segment.
        keys: (v,) the distinct keys, ascending; of keywords, the numbers up to v.
        bounds: (v + 1,) uint64: the rows of key i are `rows[bounds[i]:bounds[i + 1]]`.
        rows: (e,) uint32, in any order for each key.
        keywords: (v,) the keywords, sorted; None for other types.
    """

    type_: FieldType
    n: int
    keys: Keys
    bounds: NDArray[np.uint64]
    rows: RowNumbers
    keywords: Keywords | None

    def matching(self, clause: Clause) -> Bits:
        """Tell for each row whether some value of it is accepted."""
        code_of = _no_code if self.keywords is None else self.keywords.code_of
        intervals = intervals_of(clause, self.type_, code_of)
        starts = self.bounds[np.searchsorted(self.keys, intervals.lows, side="left")]
        stops = self.bounds[np.searchsorted(self.keys, intervals.highs, side="right")]
        loose: list[RowNumbers] = []
        runs: list[Bits] = []
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            first, last = -(-start // self._run), stop // self._run
            if first >= last:
                loose.append(self.rows[start:stop])
            else:
                runs.append(np.bitwise_or.reduce(self._runs[first:last]))
                loose += [self.rows[start : first * self._run], self.rows[last * self._run : stop]]
        return reduce(np.bitwise_or, runs, _bits_of(self.n, loose))

    @property
    def _run(self) -> int:
        """Tell the length of a run of entries whose bitmap is kept."""
        return max(_RUN_MIN, -(-len(self.rows) // _RUNS))

    @cached_property
    def _runs(self) -> NDArray[np.uint8]:
        """Make the bitmap of each run of entries, when a condition first accepts a whole one.

        Else a condition that accepts most rows would cost a step for each of them.
        """
        ends = range(self._run, len(self.rows) + 1, self._run)
        return np.array([_bits_of(self.n, [self.rows[end - self._run : end]]) for end in ends])

    def entries(self) -> Entries:
        """List all values."""
        bounds = self.bounds.astype(np.int64)
        return Entries(np.repeat(self.keys, bounds[1:] - bounds[:-1]), self.rows, self.keywords)


Column = HeadColumn | Postings


def _bits_of(n: int, rows: Iterable[RowNumbers]) -> Bits:
    """Set the bits of some of n rows."""
    bitmap = np.zeros(n, dtype=np.bool_)
    for some in rows:
        bitmap[some] = True
    return packed(bitmap)


def _no_code(_: str) -> int | None:
    return None


def merge(columns: Sequence[Column], places: Sequence[Rows], n: int) -> Postings:
    """Make the column of a segment from those of the parts that it replaces.

    Args:
        columns: of the parts, at least one; all of one type.
        places: for each part (rows,) int64, the row of the segment that each row becomes; -1 for
            none.
        n: rows of the segment.
    """
    type_ = columns[0].type_
    keys, rows = [np.empty(0, KEY_DTYPES[type_])], [np.empty(0, np.int64)]
    tables: list[Keywords] = []
    for column, place in zip(columns, places, strict=True):
        entries = column.entries()
        moved = place[entries.rows]
        # keywords of different parts get different keys for now
        keys.append(entries.keys[moved >= 0] + sum(map(len, tables)))
        rows.append(moved[moved >= 0])
        if entries.keywords is not None:
            tables.append(entries.keywords)
    if type_ is not FieldType.KEYWORD:
        return _sorted(type_, n, np.concatenate(keys), np.concatenate(rows))
    return _sorted_keywords(n, np.concatenate(keys), np.concatenate(rows), joined(tables))


def _sorted(type_: FieldType, n: int, keys: Keys, rows: Rows) -> Postings:
    # stable: what is merged consists of a few sorted runs, which timsort finds
    order = np.argsort(keys, kind="stable")
    ascending = keys[order]
    begins = np.ones(len(keys), dtype=np.bool_)
    begins[1:] = ascending[1:] != ascending[:-1]
    first = np.flatnonzero(begins)
    bounds = np.append(first, len(keys)).astype("<u8")
    return Postings(type_, n, ascending[first], bounds, rows[order].astype("<u4"), None)


def _sorted_keywords(n: int, codes: Keys, rows: Rows, keywords: Keywords) -> Postings:
    """Sort by the strings behind the codes; a string may have several codes."""
    ranks = keywords.ranks()
    ranked = _sorted(FieldType.KEYWORD, n, ranks[codes], rows)
    places = np.zeros(len(keywords), dtype=np.int64)
    places[ranks] = np.arange(len(keywords))  # any one of equal strings
    keys = np.arange(len(ranked.keys), dtype="<i8")
    return replace(ranked, keys=keys, keywords=keywords.take(places[ranked.keys]))
