"""What the fan-out asks of a shard, wherever it is."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from fanlight.model import (
    Coverage,
    DeleteResult,
    Hits,
    IdColumn,
    ItemBatch,
    Items,
    Page,
    SearchRequest,
    UpsertResult,
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of items to read beside their ids."""

    vectors: bool = True
    payloads: bool = True


class Shard(Protocol):
    """One shard of the map.

    Every call raises only errors of `fanlight.errors`, whose text does not name the shard. It is
    told how many seconds the caller waits, after which it may be cancelled at any await.
    """

    def search(self, request: SearchRequest, timeout_s: float) -> Awaitable[Hits]:
        """Answer the queries of `request` from the items of this shard."""
        ...

    async def count(self, collection: str, timeout_s: float) -> tuple[int, Coverage]:
        """Count live items."""
        ...

    async def upsert(self, collection: str, batch: ItemBatch, timeout_s: float) -> UpsertResult:
        """Write items, all of which belong to this shard."""
        ...

    async def delete(self, collection: str, ids: IdColumn, timeout_s: float) -> DeleteResult:
        """Delete items, all of which belong to this shard."""
        ...

    async def get(
        self, collection: str, ids: IdColumn, columns: Columns, timeout_s: float
    ) -> Items:
        """Read items by id, all of which belong to this shard."""
        ...

    async def scroll(
        self, collection: str, page_size: int, page_token: bytes, columns: Columns, timeout_s: float
    ) -> Page:
        """Read one page of all items of this shard."""
        ...
