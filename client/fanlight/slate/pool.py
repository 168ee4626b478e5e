"""The candidates of one query: items with interests, ranked, and what rules read of the items.

Laws: a candidate is ranked by value, then id, then interest. An item is known by its place in the
table, which only grows; the order of candidates changes as they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.fields import FieldValues
from fanlight.filters import FieldType, Value
from fanlight.ids import empty, id_type_of, joined, sort_keys
from fanlight.matching import accepts, read_values
from fanlight.model import Floats, IdColumn, IdType, Items, Rows, parse_payload
from fanlight.queries import Slate
from fanlight.vectors import lengths_of

Doubles: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
# A value that a cap counts, and whether it is a boolean: 1 and true are two values.
Counted: TypeAlias = tuple[bool, Value]


def values_of(scores: Floats, weight: float) -> Doubles:
    """Give the value of scores for an interest: more weight is always better."""
    exact = scores.astype(np.float64)
    return np.where(exact >= 0, exact * weight, exact / weight)


class Pool:
    """See the module.

    Attributes:
        ids: (c,) the item of each candidate.
        items: (c,) int64: its place in the table.
        interests: (c,) int64.
        scores: (c,) float32.
        values: (c,) float64, descending.
    """

    def __init__(self, id_type: IdType, slate: Slate, filterable: Mapping[str, FieldType]) -> None:
        """Make an empty pool."""
        self._slate = slate
        self._filterable = filterable
        self.ids: IdColumn = empty(id_type)
        self.items: Rows = np.empty(0, dtype=np.int64)
        self.interests: Rows = np.empty(0, dtype=np.int64)
        self.scores: Floats = np.empty(0, dtype=np.float32)
        self.values: Doubles = np.empty(0, dtype=np.float64)
        self._item_of: dict[object, int] = {}
        self._places: dict[tuple[int, int], int] = {}
        # of each item in the table
        self._capped: list[list[list[Counted]]] = []
        self._helps: list[list[bool]] = []
        self._units: list[Doubles] = []
        self._stacked: Doubles = np.empty((0, 0), dtype=np.float64)

    def __len__(self) -> int:
        """Count the candidates."""
        return len(self.ids)

    @property
    def n_items(self) -> int:
        """Count the items of the table."""
        return len(self._item_of)

    def unknown(self, ids: IdColumn) -> IdColumn:
        """List the ids that are not in the table, each once."""
        new = [v for v in dict.fromkeys(ids.tolist()) if v not in self._item_of]
        column = empty(id_type_of(ids), len(new))
        column[:] = new
        return column

    def learn(self, ids: IdColumn, items: Items | None) -> None:
        """Put items in the table, with what the rules read of them.

        Args:
            ids: (n,) ids that are not in it, each once.
            items: what was read of those that still exist; None when the rules read nothing.
        """
        row_of = {} if items is None else {v: row for row, v in enumerate(items.ids.tolist())}
        blobs = None if items is None else items.payload_blobs
        vectors = None if items is None else items.vectors
        units = None if vectors is None else units_of(vectors)
        for value in ids.tolist():
            self._item_of[value] = len(self._item_of)
            row = row_of.get(value)
            payload = None if blobs is None or row is None else parse_payload(blobs[row])
            self._learn_payload(payload)
            if units is not None:
                gone = np.full(units.shape[1], np.nan)
                self._units.append(gone if row is None else units[row])

    def _learn_payload(self, payload: Mapping[str, object] | None) -> None:
        caps, floors = self._slate.caps, self._slate.floors
        if caps:
            self._capped.append([listed((payload or {}).get(cap.field)) for cap in caps])
        if floors:
            fields: FieldValues = read_values(payload, self._filterable)
            self._helps.append([accepts(floor.filter, fields) for floor in floors])

    def add(self, interest: int, ids: IdColumn, scores: Floats, values: Doubles) -> None:
        """Add candidates of one interest; those that are there stay. All items are in the table."""
        items = np.fromiter((self._item_of[v] for v in ids.tolist()), np.int64, len(ids))
        fresh = [row for row, i in enumerate(items.tolist()) if (i, interest) not in self._places]
        if not fresh:
            return
        new = np.array(fresh, dtype=np.int64)
        self.ids = joined([self.ids, ids[new]])
        self.items = np.concatenate((self.items, items[new]))
        self.interests = np.concatenate((self.interests, np.full(len(new), interest)))
        self.scores = np.concatenate((self.scores, scores[new]))
        self.values = np.concatenate((self.values, values[new]))
        order = np.lexsort((self.interests, sort_keys(self.ids), -self.values))
        self.ids, self.items = self.ids[order], self.items[order]
        self.interests, self.scores = self.interests[order], self.scores[order]
        self.values = self.values[order]
        pairs = zip(self.items.tolist(), self.interests.tolist(), strict=True)
        self._places = {pair: place for place, pair in enumerate(pairs)}

    def item(self, value: object) -> int:
        """Find an item in the table."""
        return self._item_of[value]

    def place(self, item: int, interest: int) -> int:
        """Find a candidate."""
        return self._places[item, interest]

    def capped_values(self, item: int, cap: int) -> Sequence[Counted]:
        """List what a cap counts of an item."""
        return self._capped[item][cap]

    def with_value(self, cap: int, value: Counted) -> list[int]:
        """List the items that have a value of a cap's field."""
        return [item for item, caps in enumerate(self._capped) if value in caps[cap]]

    def helps(self, floor: int) -> Bools:
        """Tell which items a floor counts: (items,) bool."""
        return np.fromiter((helps[floor] for helps in self._helps), np.bool_, len(self._helps))

    def cosines(self, item: int) -> Doubles:
        """Compare an item with all of the table: (items,); -1 where a vector is gone.

        In float64, row by row, and rounded to float32, so that it does not depend on which other
        items the table holds.
        """
        if len(self._stacked) < len(self._units):
            self._stacked = np.array(self._units)
        row: Doubles = np.einsum("ij,j->i", self._stacked, self._stacked[item])
        rounded = np.clip(row, -1, 1).astype(np.float32).astype(np.float64)
        return np.nan_to_num(rounded, nan=-1.0)


def units_of(vectors: Floats) -> Doubles:
    """Scale vectors to length 1; a zero vector is like nothing."""
    lengths = lengths_of(vectors)
    with np.errstate(invalid="ignore", divide="ignore"):
        units: Doubles = vectors.astype(np.float64) / lengths[:, None]
    return units


def listed(value: object) -> list[Counted]:
    """List the distinct values of a field; what is no plain value is none."""
    values = value if isinstance(value, list) else [value]
    plain = (v for v in values if isinstance(v, (str, int, float)))
    return list(dict.fromkeys((type(v) is bool, v) for v in plain))
