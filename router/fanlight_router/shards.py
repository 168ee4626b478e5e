"""What the fan-out asks of a shard, wherever it is."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from fanlight.filters import Filter
from fanlight.model import (
    CollectionInfo,
    Coverage,
    DeleteResult,
    Explanation,
    Facets,
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

    async def get_collection(self, name: str, timeout_s: float) -> tuple[CollectionInfo, Coverage]:
        """Describe this shard's part of a collection."""
        ...

    async def count(
        self, collection: str, timeout_s: float, filter: Filter | None = None
    ) -> tuple[int, Coverage]:
        """Count live items, or those that satisfy a filter."""
        ...

    async def facets(
        self, collection: str, field: str, filter: Filter | None, timeout_s: float
    ) -> tuple[Facets, Coverage]:
        """Count live items by all values of a field."""
        ...

    async def delete_matching(self, collection: str, filter: Filter, timeout_s: float) -> int:
        """Delete the items that satisfy a filter."""
        ...

    async def explain(
        self, request: SearchRequest, id_: IdColumn, score: float | None, timeout_s: float
    ) -> Explanation:
        """Tell how an item, or a score, stands on this shard."""
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


class SetShard(Protocol):
    """The sets of one shard of the map; calls as those of `Shard`. Each gives a count of members."""

    async def append_to_set(
        self, collection: str, name: str, ids: IdColumn, ttl_s: float | None, timeout_s: float
    ) -> int:
        """Add ids, all of which belong to this shard."""
        ...

    async def remove_from_set(
        self, collection: str, name: str, ids: IdColumn, timeout_s: float
    ) -> int:
        """Take ids out, all of which belong to this shard."""
        ...

    async def expire_set(self, collection: str, name: str, ttl_s: float, timeout_s: float) -> int:
        """Give all members a time to live."""
        ...

    async def delete_set(self, collection: str, name: str, timeout_s: float) -> int:
        """Take all members out."""
        ...

    async def count_set(self, collection: str, name: str, timeout_s: float) -> int:
        """Count the members."""
        ...

    async def set_members(self, collection: str, name: str, timeout_s: float) -> IdColumn:
        """List the members, ascending."""
        ...
