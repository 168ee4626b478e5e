"""The newest rows of a shard, searched exactly."""

from __future__ import annotations

from itertools import repeat

import numpy as np

from fanlight.ids import empty
from fanlight.model import Floats, IdColumn, IdType, Rows
from fanlight.vectors import lengths_of
from fanlight_server.index.block import Block


class Head:
    """A bounded block that grows at its end. Only the collection's writer touches it.

    Readers get slices of its arrays: rows are written before a view that shows them is
    published, and never again.
    """

    def __init__(self, capacity: int, dim: int, id_type: IdType) -> None:
        """Reserve room for `capacity` rows; the system gives the memory as it fills."""
        self.capacity = capacity
        self._size = 0
        self._ids = empty(id_type, capacity)
        self._seqs = np.zeros(capacity, dtype=np.int64)
        self._vectors = np.zeros((capacity, dim), dtype=np.float32)
        self._lengths = np.zeros(capacity, dtype=np.float64)
        self._row_of: dict[object, int] = {}

    def __len__(self) -> int:
        """Count the rows, dead ones included."""
        return self._size

    @property
    def room(self) -> int:
        """Rows that still fit."""
        return self.capacity - self._size

    def append(self, ids: IdColumn, seqs: Rows, vectors: Floats) -> None:
        """Add rows; there must be room."""
        rows = slice(self._size, self._size + len(ids))
        self._ids[rows], self._seqs[rows], self._vectors[rows] = ids, seqs, vectors
        self._lengths[rows] = lengths_of(vectors)
        self._row_of.update(zip(ids.tolist(), range(rows.start, rows.stop), strict=True))
        self._size = rows.stop

    def block(self) -> Block:
        """Show the rows so far."""
        rows = slice(0, self._size)
        return Block(self._ids[rows], self._seqs[rows], self._vectors[rows], self._lengths[rows])

    def rows_of(self, ids: IdColumn) -> Rows:
        """Look ids up: (n,) int64, the newest row of each id, -1 where there is none."""
        rows = map(self._row_of.get, ids.tolist(), repeat(-1))
        return np.fromiter(rows, np.int64, len(ids))
