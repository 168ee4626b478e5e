"""Writes and reads of items by id: each row goes to the shard that owns its id.

Laws: results come back in the caller's row order. A row whose shard fails is refused with that
shard's error, and its neighbours stand. A read lacks nothing silently.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from fanlight.errors import FanlightError, Overloaded, RowError
from fanlight.hits import rows_by_id
from fanlight.items import join_items
from fanlight.limits import Limits
from fanlight.model import (
    Coverage,
    DeleteResult,
    IdColumn,
    ItemBatch,
    Items,
    Rows,
    UpsertResult,
)
from fanlight.placement import shards_of
from fanlight.plans import Fetched
from fanlight.validation import check_batch, check_columns
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline
from fanlight_router.gather import Gathered, demand, gather, named
from fanlight_router.shards import Columns, Shard

T = TypeVar("T")
# Makes the call to one shard: the shard, the rows that it owns, seconds.
Call = Callable[[Shard, Rows, float], Coroutine[Any, Any, T]]


@dataclass(frozen=True, slots=True)
class Placed(Gathered[T]):
    """What became of rows that were split over shards.

    Attributes:
        rows: (s,) ascending rows of each shard that was asked, by shard index.
        coverage: which shards were asked and answered.
    """

    rows: Mapping[int, Rows]
    coverage: Coverage

    @property
    def failed_rows(self) -> dict[int, FanlightError]:
        """Give the rows of the failed shards, each with its shard's error."""
        return {
            row: error
            for shard, reason in self.failures.items()
            for error in (named(shard, reason),)
            for row in self.rows[shard].tolist()
        }


class PlacedItems:
    """The items of all shards, by id. For one event loop."""

    def __init__(self, shards: Sequence[Shard], known: KnownItems, limits: Limits) -> None:
        self._shards = tuple(shards)
        self._known = known
        self._limits = limits

    async def upsert(
        self, collection: str, batch: ItemBatch, deadline: Deadline
    ) -> tuple[UpsertResult, Coverage]:
        """Write items.

        Raises:
            InvalidRequest: the batch is empty, too long or of unequal columns, or as the shards
                say.
            NotFound: there is no such collection.
            PartialResult: no shard answered; rows may or may not have been written.
        """
        check_batch(batch.ids, self._limits)
        check_columns(batch)
        placed = await self._ask(
            collection,
            batch.ids,
            lambda shard, rows, left_s: shard.upsert(collection, batch.take(rows), left_s),
            min_coverage=0,
            deadline=deadline,
        )
        answers = placed.answers.items()
        superseded = [placed.rows[shard][answer.superseded_rows] for shard, answer in answers]
        result = UpsertResult(
            written=sum(answer.written for _, answer in answers),
            errors=_row_errors(placed, {shard: answer.errors for shard, answer in answers}),
            superseded_rows=np.sort(np.concatenate(superseded)),
        )
        return result, placed.coverage

    async def delete(
        self, collection: str, ids: IdColumn, deadline: Deadline
    ) -> tuple[DeleteResult, Coverage]:
        """Delete items; raises as `upsert` does."""
        check_batch(ids, self._limits)
        placed = await self._ask(
            collection,
            ids,
            lambda shard, rows, left_s: shard.delete(collection, ids[rows], left_s),
            min_coverage=0,
            deadline=deadline,
        )
        answers = placed.answers.items()
        result = DeleteResult(
            deleted=sum(answer.deleted for _, answer in answers),
            errors=_row_errors(placed, {shard: answer.errors for shard, answer in answers}),
        )
        return result, placed.coverage

    async def get(
        self, collection: str, ids: IdColumn, columns: Columns, deadline: Deadline
    ) -> tuple[Items, Coverage]:
        """Read items by id, in the order asked.

        Raises:
            InvalidRequest: the batch is empty or too long, or as the shards say.
            NotFound: there is no such collection.
            PartialResult: a shard that is needed failed.
            Overloaded: the items do not fit one message.
        """
        check_batch(ids, self._limits)
        found = await self.find(collection, ids, columns, 1, deadline)
        return _in_order(ids, found.items), self._coverage(collection, self._rows_by_shard(ids), {})

    async def find(
        self,
        collection: str,
        ids: IdColumn,
        columns: Columns,
        min_coverage: float,
        deadline: Deadline,
    ) -> Fetched:
        """Read items by id, some at a time so that every answer of a shard fits a message.

        Args:
            collection: where.
            ids: (n,), at least one.
            columns: which columns.
            min_coverage: share of the needed shards that must answer.
            deadline: for all of them.

        Returns:
            The items in no particular order, and the ids whose shard failed, with its error.

        Raises:
            FanlightError: as `get` does.
        """

        def read(some: IdColumn) -> Call[Items]:
            return lambda shard, rows, left_s: shard.get(collection, some[rows], columns, left_s)

        parts: list[Items] = []
        failed: dict[object, FanlightError] = {}
        failures: dict[int, FanlightError] = {}
        step, room = self._rows_at_once(columns), self._limits.message_bytes
        for start in range(0, len(ids), step):
            some = ids[start : start + step]
            placed = await self._ask(
                collection, some, read(some), min_coverage=min_coverage, deadline=deadline
            )
            parts += placed.answers.values()
            failed |= {some[row]: error for row, error in placed.failed_rows.items()}
            failures |= placed.failures
            room -= sum(map(_size, placed.answers.values()))
            if room < 0:
                raise Overloaded("the items' payloads and vectors do not fit one message")
        others = {shard: None for shard in range(len(self._shards)) if shard not in failures}
        coverage = self._coverage(collection, others, failures) if failures else None
        return Fetched(join_items(parts), failed, coverage)

    async def _ask(
        self,
        collection: str,
        ids: IdColumn,
        call: Call[T],
        *,
        min_coverage: float,
        deadline: Deadline,
    ) -> Placed[T]:
        left_s = deadline.left_s()
        rows = self._rows_by_shard(ids)
        calls = {shard: call(self._shards[shard], own, left_s) for shard, own in rows.items()}
        gathered = await gather(calls, left_s)
        coverage = self._coverage(collection, gathered.answers, gathered.failures)
        demand(gathered, min_coverage, coverage)
        return Placed(gathered.answers, gathered.failures, rows, coverage)

    def _rows_by_shard(self, ids: IdColumn) -> dict[int, Rows]:
        shards = shards_of(ids, len(self._shards))
        return {int(shard): np.flatnonzero(shards == shard) for shard in np.unique(shards)}

    def _coverage(
        self,
        collection: str,
        answered: Mapping[int, object],
        failures: Mapping[int, FanlightError],
    ) -> Coverage:
        covered = {shard: self._known.coverage_of(shard, collection) for shard in answered}
        return self._known.unite(collection, covered, failures)

    def _rows_at_once(self, columns: Columns) -> int:
        """Tell how many of the largest items fit a message."""
        limits = self._limits
        row = limits.id_bytes + limits.payload_bytes * columns.payloads
        row += 4 * limits.dim * columns.vectors
        return min(limits.batch_rows, max(1, limits.message_bytes // row))


def _row_errors(
    placed: Placed[Any], refused: Mapping[int, Sequence[RowError]]
) -> tuple[RowError, ...]:
    """Put the shards' row errors, and the rows of failed shards, back to the caller's rows."""
    errors = placed.failed_rows
    for shard, own in refused.items():
        errors |= {int(placed.rows[shard][e.row]): e.error for e in own}
    return tuple(RowError(row, errors[row]) for row in sorted(errors))


def _size(items: Items) -> int:
    vectors = 0 if items.vectors is None else items.vectors.nbytes
    return vectors + sum(map(len, items.payload_blobs or ()))


def _in_order(ids: IdColumn, items: Items) -> Items:
    """Order items as their ids were asked for."""
    row_of = rows_by_id(items.ids)
    places = [row_of.get(value) for value in ids.tolist()]
    rows = np.array([place for place in places if place is not None], dtype=np.int64)
    blobs = items.payload_blobs
    return Items(
        ids=items.ids[rows],
        vectors=None if items.vectors is None else items.vectors[rows],
        payload_blobs=None if blobs is None else [blobs[row] for row in rows.tolist()],
        missing=ids[np.array([place is None for place in places], dtype=bool)],
    )
