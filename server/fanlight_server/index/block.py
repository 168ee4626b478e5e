"""Rows as columns: what a head and a segment have in common, and how they are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.ids import id_type_of, sort_keys
from fanlight.model import Floats, IdColumn, IdType, Metric, Rows
from fanlight_server.index.bits import Bitmap
from fanlight_server.index.fields import Fields, merge_fields
from fanlight_server.index.string_ids import ranks, to_bytes

Doubles = NDArray[np.float64]
Codes = NDArray[np.uint8]
IdTable: TypeAlias = kernel.IdTable | kernel.StringIdTable

# In `seqs`: the row was dead when its segment was built. On disk, do not change.
DEAD_SEQ = -1
# Bytes of vectors copied at a time.
_PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class Columns:
    """n rows without their vectors.

    Attributes:
        metric: how they are scored.
        ids: (n,) ids.
        order: (n,) int64 that sort as the ids do; int64 ids themselves. Breaks ties of scores.
        seqs: (n,) int64, the seq of the change that wrote the row, or DEAD_SEQ.
        lengths: (n,) float64, the Euclidean length of each vector.
        codes: (n, code bytes) uint8, what `kernel.encode` makes of the vectors.
        fields: the filterable fields of the rows.
    """

    metric: Metric
    ids: IdColumn
    order: Rows
    seqs: Rows
    lengths: Doubles
    codes: Codes
    fields: Fields

    def __len__(self) -> int:
        """Count the rows, dead ones included."""
        return len(self.seqs)


@dataclass(frozen=True)
class Block(Columns):
    """n rows; never written to once a reader can see them.

    Attributes:
        vectors: (n, dim) float32, as they were put.
    """

    vectors: Floats

    @property
    def dim(self) -> int:
        """Elements of a vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def scored(self) -> kernel.Rows:
        """Give the rows to the kernel, where they are; made on first use."""
        return kernel.Rows(
            self.metric.value, self.vectors, self.lengths, self.order, codes=self.codes
        )


class Gathering:
    """The rows of several blocks that are to be kept, one block after the other."""

    def __init__(self, blocks: Sequence[Block], kept: Sequence[Bitmap]) -> None:
        """Choose rows.

        Args:
            blocks: at least one.
            kept: (rows,) bool for each of them.
        """
        self._blocks = blocks
        self._kept = kept
        self._rows = [np.flatnonzero(bits) for bits in kept]

    def columns(self) -> Columns:
        """Copy everything but the vectors."""
        blocks = self._blocks
        ids = self._column([block.ids for block in blocks])
        return Columns(
            metric=blocks[0].metric,
            ids=ids,
            order=ranks_of(ids),
            seqs=self._column([block.seqs for block in blocks]),
            lengths=self._column([block.lengths for block in blocks]),
            codes=self._column([block.codes for block in blocks]),
            fields=merge_fields([b.fields for b in blocks], _places(self._kept), len(ids)),
        )

    def vectors(self) -> Iterator[Floats]:
        """Show the vectors a piece at a time, since they may be more than memory holds.

        A piece is valid until the next one. Where a block is kept whole it is shown where it lies.
        """
        dim = self._blocks[0].dim
        step = max(1, _PIECE_BYTES // (4 * dim))
        # one for all pieces: 14 ms of CPU for 36,000 rows of 784 dimensions, 20 with one for each
        room = np.empty((min(step, max(map(len, self._rows))), dim), dtype=np.float32)
        for block, rows in zip(self._blocks, self._rows, strict=True):
            whole = len(rows) == len(block)
            for start in range(0, len(rows), step):
                stop = min(start + step, len(rows))
                yield (
                    block.vectors[start:stop]
                    if whole
                    else _taken(block.vectors, rows[start:stop], room[: stop - start])
                )

    def _column(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        whole = np.empty((sum(map(len, self._rows)), *parts[0].shape[1:]), dtype=parts[0].dtype)
        at = 0
        for part, chosen in zip(parts, self._rows, strict=True):
            _taken(part, chosen, whole[at : at + len(chosen)])
            at += len(chosen)
        return whole


def _taken(column: NDArray[Any], rows: Rows, out: NDArray[Any]) -> NDArray[Any]:
    """Copy rows of a column to `out`, beside the interpreter."""
    # "raise" would copy them once more
    return np.take(column, rows, axis=0, out=out, mode="clip")


def _places(kept: Sequence[Bitmap]) -> list[Rows]:
    """Tell which row each row becomes when those kept are put together; -1 for the others."""
    places, first = [], 0
    for bits in kept:
        place = first - 1 + np.cumsum(bits)
        first += int(np.count_nonzero(bits))
        places.append(np.where(bits, place, -1).astype(np.int64))
    return places


def ranks_of(ids: IdColumn) -> Rows:
    """Give int64 keys that sort as the ids do, of many ids beside the interpreter."""
    if id_type_of(ids) is IdType.INT64:
        return sort_keys(ids)
    return ranks(*to_bytes(ids))


def id_table(rows: Columns) -> IdTable:
    """Find rows that are excluded."""
    if id_type_of(rows.ids) is IdType.STRING:
        return kernel.StringIdTable(*to_bytes(rows.ids))
    return kernel.IdTable(cast(Rows, rows.ids))


class RowLookup:
    """Finds the newest row of each id in a block that no longer grows, by binary search.

    It takes 16 bytes a row. (A dict of strings would find them faster, but takes 100 bytes a row
    and holds the interpreter while it is made, which searches would notice.)
    """

    def __init__(self, block: Block) -> None:
        """Sort the ids of a block."""
        self._rows = np.lexsort((block.seqs, block.order)).astype(np.int64, copy=False)
        self._sorted = block.ids[self._rows]

    def rows_of(self, ids: IdColumn) -> Rows:
        """Look ids up.

        Returns:
            (n,) int64: the row with the highest seq of each id, -1 where there is none.
        """
        if not len(self._rows):
            return np.full(len(ids), -1, dtype=np.int64)
        at = np.maximum(np.searchsorted(self._sorted, ids, side="right") - 1, 0)
        return np.where(self._sorted[at] == ids, self._rows[at], -1)

    def between(self, after: Any, upto: Any) -> Rows:
        """List the rows with ids in (after, upto], None for no bound, older ones of an id too."""
        first = 0 if after is None else np.searchsorted(self._sorted, after, side="right")
        last = (
            len(self._rows) if upto is None else np.searchsorted(self._sorted, upto, side="right")
        )
        return self._rows[int(first) : int(last)]
