"""The newest rows of a shard, searched without a graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.fields import FieldValues
from fanlight.ids import empty, sort_keys
from fanlight.model import CollectionSpec, Floats, IdColumn, IdType, Rows
from fanlight_server.index.block import Block
from fanlight_server.index.fields import GrowingFields


class Head:
    """A bounded block that grows at its end. Only the collection's writer touches it.

    Readers get slices of its arrays: rows are written before a view that shows them is
    published, and never again.
    """

    # Its rows become more, so nothing that is looked up stays true.
    kept_rows: None = None

    def __init__(self, capacity: int, spec: CollectionSpec) -> None:
        """Reserve room for `capacity` rows; the system gives the memory as it fills."""
        self.capacity = capacity
        self._metric = spec.metric
        self._size = 0
        self._ids = empty(spec.id_type, capacity)
        self._seqs = np.zeros(capacity, dtype=np.int64)
        self._vectors = np.zeros((capacity, spec.dim), dtype=np.float32)
        self._lengths = np.zeros(capacity, dtype=np.float64)
        self._codes = np.zeros((capacity, kernel.code_bytes(spec.dim)), dtype=np.uint8)
        self._fields = GrowingFields(spec.filterable)
        self._row_of: dict[object, int] = {}
        self._order = _StringOrder() if spec.id_type is IdType.STRING else None

    def __len__(self) -> int:
        """Count the rows, dead ones included."""
        return self._size

    @property
    def room(self) -> int:
        """Rows that still fit."""
        return self.capacity - self._size

    def append(
        self, ids: IdColumn, seqs: Rows, vectors: Floats, fields: Sequence[FieldValues] = ()
    ) -> None:
        """Add rows; there must be room. `fields` is empty when none is filterable."""
        rows = slice(self._size, self._size + len(ids))
        lengths = kernel.lengths(vectors)
        self._ids[rows], self._seqs[rows], self._vectors[rows] = ids, seqs, vectors
        self._lengths[rows] = lengths
        self._codes[rows] = kernel.encode(self._metric.value, vectors, lengths)
        self._fields.append(len(ids), fields)
        self._row_of.update(zip(ids.tolist(), range(rows.start, rows.stop), strict=True))
        if self._order is not None:
            self._order.append(ids)
        self._size = rows.stop

    def block(self) -> Block:
        """Show the rows so far."""
        rows = slice(0, self._size)
        ids = self._ids[rows]
        return Block(
            metric=self._metric,
            ids=ids,
            order=sort_keys(ids) if self._order is None else self._order.keys(),
            seqs=self._seqs[rows],
            lengths=self._lengths[rows],
            codes=self._codes[rows],
            fields=self._fields.shown(),
            vectors=self._vectors[rows],
        )

    def rows_of(self, ids: IdColumn) -> Rows:
        """Look ids up: (n,) int64, the newest row of each id, -1 where there is none."""
        rows = map(self._row_of.get, ids.tolist(), repeat(-1))
        return np.fromiter(rows, np.int64, len(ids))


class _StringOrder:
    """Keeps string ids in order while rows are added."""

    def __init__(self) -> None:
        self._sorted = empty(IdType.STRING)
        self._rows = np.empty(0, dtype=np.int64)

    def append(self, ids: IdColumn) -> None:
        """Add rows with these ids."""
        order = np.argsort(ids, kind="stable")
        places = np.searchsorted(self._sorted, ids[order])
        self._sorted = _inserted(self._sorted, places, ids[order])
        self._rows = _inserted(self._rows, places, len(self._rows) + order)

    def keys(self) -> Rows:
        """Tell for each row its place in the order: (n,) int64."""
        places = np.empty(len(self._rows), dtype=np.int64)
        places[self._rows] = np.arange(len(self._rows))
        return places


def _inserted(column: NDArray[Any], places: Rows, new: NDArray[Any]) -> NDArray[Any]:
    """Put new elements before those that stand at the given places, which ascend."""
    whole = np.empty(len(column) + len(new), dtype=column.dtype)
    is_new = np.zeros(len(whole), dtype=np.bool_)
    is_new[places + np.arange(len(new))] = True
    whole[is_new], whole[~is_new] = new, column
    return whole
