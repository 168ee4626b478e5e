"""The candidates of one query: items with interests, ranked, and what rules read of the items.

Laws: a candidate is ranked by value, then id, then interest. An item is known by its place in the
table, which only grows; the order of candidates changes as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.ids import empty, id_type_of, joined, sort_keys
from fanlight.model import Floats, IdColumn, IdType, Rows
from fanlight.slate.reading import Counted, Doubles, Reading, Traits

Bools: TypeAlias = NDArray[np.bool_]

_NO_TRAITS = Traits()


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

    def __init__(self, id_type: IdType) -> None:
        """Make an empty pool."""
        self.ids: IdColumn = empty(id_type)
        self.items: Rows = np.empty(0, dtype=np.int64)
        self.interests: Rows = np.empty(0, dtype=np.int64)
        self.scores: Floats = np.empty(0, dtype=np.float32)
        self.values: Doubles = np.empty(0, dtype=np.float64)
        self._item_of: dict[object, int] = {}
        self._places: dict[tuple[int, int], int] = {}
        # of each item in the table
        self._traits: list[Traits] = []
        self._having: dict[tuple[int, Counted], list[int]] = {}
        self._helps: Bools = np.empty((0, 0), dtype=np.bool_)
        self._units: Doubles = np.empty((0, 0), dtype=np.float64)

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

    def learn(self, ids: IdColumn, reading: Reading | None) -> None:
        """Put items in the table, with what the rules read of them.

        Args:
            ids: (n,) ids that are not in it, each once.
            reading: what was read of them; None when the rules read nothing.
        """
        for item, value in enumerate(ids.tolist(), self.n_items):
            traits = _NO_TRAITS if reading is None else reading.traits(value)
            self._item_of[value] = item
            self._traits.append(traits)
            for cap, counted in enumerate(traits.capped):
                for one in counted:
                    self._having.setdefault((cap, one), []).append(item)

    def add(self, interest: int, ids: IdColumn, scores: Floats, values: Doubles) -> None:
        """Add candidates of one interest; those that are there stay.

        All items are in the table. The candidates have no order until `rank`.
        """
        items = np.fromiter((self._item_of[v] for v in ids.tolist()), np.int64, len(ids))
        fresh = [row for row, i in enumerate(items.tolist()) if (i, interest) not in self._places]
        new = np.array(fresh, dtype=np.int64)
        self._places.update(((item, interest), -1) for item in items[new].tolist())
        self.ids = joined([self.ids, ids[new]])
        self.items = np.concatenate((self.items, items[new]))
        self.interests = np.concatenate((self.interests, np.full(len(new), interest)))
        self.scores = np.concatenate((self.scores, scores[new]))
        self.values = np.concatenate((self.values, values[new]))

    def rank(self) -> None:
        """Put the candidates in order."""
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

    def traits(self, item: int) -> Traits:
        """Give what rules look at of an item."""
        return self._traits[item]

    def with_value(self, cap: int, value: Counted) -> Sequence[int]:
        """List the items that have a value of a cap's field."""
        return self._having.get((cap, value), ())

    def helps(self, floor: int) -> Bools:
        """Tell which items a floor counts: (items,) bool."""
        if len(self._helps) < len(self._traits):
            self._helps = np.array([traits.helps for traits in self._traits], dtype=np.bool_)
        column: Bools = self._helps[:, floor]
        return column

    def cosines(self, item: int, start: int) -> Doubles:
        """Compare an item with those of the table from a place on; -1 where a vector is gone.

        In float64, row by row, and rounded to float32, so that it does not depend on which other
        items the table holds.
        """
        if len(self._units) < len(self._traits):
            self._units = np.array([traits.unit for traits in self._traits], dtype=np.float64)
        row: Doubles = np.einsum("ij,j->i", self._units[start:], self._units[item])
        rounded = np.clip(row, -1, 1).astype(np.float32).astype(np.float64)
        return np.nan_to_num(rounded, nan=-1.0)
