"""Rows as columns: what a head and a segment have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanlight.ids import empty, joined
from fanlight.model import Floats, IdColumn, IdType, Rows

Bitmap = NDArray[np.bool_]
Doubles = NDArray[np.float64]

# In `seqs`: the row was dead when its segment was built. On disk, do not change.
DEAD_SEQ = -1


@dataclass(frozen=True, slots=True)
class Block:
    """n rows; never written to once a reader can see them.

    Attributes:
        ids: (n,) ids.
        seqs: (n,) int64, the seq of the change that wrote the row, or DEAD_SEQ.
        vectors: (n, dim) float32, as they were put.
        lengths: (n,) float64, the Euclidean length of each vector.
    """

    ids: IdColumn
    seqs: Rows
    vectors: Floats
    lengths: Doubles

    def __len__(self) -> int:
        """Count the rows, dead ones included."""
        return len(self.seqs)

    @property
    def dim(self) -> int:
        """Elements of a vector."""
        return int(self.vectors.shape[1])

    def take(self, rows: Rows) -> Block:
        """Copy some rows, in the order given."""
        return Block(self.ids[rows], self.seqs[rows], self.vectors[rows], self.lengths[rows])


def concatenate(blocks: list[Block], dim: int, id_type: IdType) -> Block:
    """Put blocks one after the other."""
    return Block(
        ids=joined([empty(id_type), *(b.ids for b in blocks)]),
        seqs=np.concatenate([np.empty(0, np.int64), *(b.seqs for b in blocks)]),
        vectors=np.concatenate([np.empty((0, dim), np.float32), *(b.vectors for b in blocks)]),
        lengths=np.concatenate([np.empty(0, np.float64), *(b.lengths for b in blocks)]),
    )


class RowLookup:
    """Finds the newest row of each id in a block that no longer grows.

    int64 ids are found by binary search (16 bytes a row), strings through a dict.
    """

    def __init__(self, block: Block) -> None:
        """Sort the ids of a block."""
        strings = block.ids.dtype == object
        keys = block.seqs if strings else block.ids
        order = np.argsort(keys, kind="stable") if strings else np.lexsort((block.seqs, block.ids))
        self._rows = order.astype(np.int64)
        self._sorted = block.ids[order]
        self._row_of: dict[str, int] | None = None
        if strings:
            self._row_of = dict(zip(self._sorted.tolist(), order.tolist(), strict=True))

    def rows_of(self, ids: IdColumn) -> Rows:
        """Look ids up.

        Returns:
            (n,) int64: the row with the highest seq of each id, -1 where there is none.
        """
        if self._row_of is not None:
            get = self._row_of.get
            return np.fromiter((get(value, -1) for value in ids), np.int64, len(ids))
        if not len(self._rows):
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.maximum(np.searchsorted(self._sorted, ids, side="right") - 1, 0)
        return np.where(self._sorted[at] == ids, self._rows[at], -1).astype(np.int64)
