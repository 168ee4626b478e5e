"""What the servicers ask of the shard's core; `Catalog` and `Collection` are the real ones."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    DeleteResult,
    Hits,
    IdColumn,
    ItemBatch,
    Items,
    Page,
    SearchRequest,
    UpsertResult,
)
from fanlight.placement import ShardIdentity


class CollectionCore(Protocol):
    """This shard's part of one collection; safe for many threads."""

    def info(self) -> CollectionInfo:
        """Describe it as it stands."""
        ...

    def count(self) -> int:
        """Count the live items."""
        ...

    def search(self, request: SearchRequest, *, timeout_s: float | None = None) -> Hits:
        """Answer the queries of `request`; those not begun in time fail with DeadlineExceeded."""
        ...

    def upsert(self, batch: ItemBatch, *, timeout_s: float | None = None) -> Future[UpsertResult]:
        """Write items; the future completes when they are on disk and visible."""
        ...

    def delete(self, ids: IdColumn, *, timeout_s: float | None = None) -> Future[DeleteResult]:
        """Delete items; the future completes when that is on disk and visible."""
        ...

    def get(self, ids: IdColumn, *, with_vectors: bool = True, with_payloads: bool = True) -> Items:
        """Read items by id."""
        ...

    def scroll(
        self,
        page_size: int,
        page_token: bytes,
        *,
        with_vectors: bool = True,
        with_payloads: bool = True,
    ) -> Page:
        """Read a page of items."""
        ...


class CatalogCore(Protocol):
    """The collections of one shard; safe for many threads."""

    @property
    def identity(self) -> ShardIdentity:
        """Tell which part of which cluster the shard is."""
        ...

    def create(self, spec: CollectionSpec, version: int | None = None) -> CollectionInfo:
        """Create a collection."""
        ...

    def get(self, name: str) -> CollectionCore:
        """Find a collection."""
        ...

    def describe(self, *, with_deleted: bool = False) -> list[CollectionInfo]:
        """Describe all collections, by name."""
        ...

    def delete(self, name: str, version: int | None = None) -> None:
        """Delete a collection."""
        ...
