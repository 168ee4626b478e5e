"""What the servicers ask of the shard's core; `Catalog` and `Collection` are the real ones."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from fanlight.errors import FanlightError
from fanlight.exports import ExportRequest, ExportRows
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


class ExportCore(Protocol):
    """All items of one moment; rows are taken by one thread at a time."""

    @property
    def info(self) -> CollectionInfo:
        """Describe the collection."""
        ...

    @property
    def seq(self) -> int:
        """Tell the highest seq of the moment."""
        ...

    @property
    def items(self) -> int:
        """Tell how many rows there are."""
        ...

    def take(self) -> ExportRows | None:
        """Read the next rows; None at the end."""
        ...

    def close(self) -> None:
        """End it; idempotent."""
        ...


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

    def export(self, request: ExportRequest) -> ExportCore:
        """Begin to read all items as they are now."""
        ...


class CatalogCore(Protocol):
    """The collections of one shard; safe for many threads."""

    @property
    def identity(self) -> ShardIdentity:
        """Tell which part of which cluster the shard is."""
        ...

    @property
    def write_refusal(self) -> FanlightError | None:
        """Tell why the shard takes no writes; None when it takes them."""
        ...

    def create(
        self, spec: CollectionSpec, version: int | None = None, *, restoring: bool = False
    ) -> CollectionInfo:
        """Create a collection."""
        ...

    def finish_restore(self, name: str) -> CollectionInfo:
        """Let a collection that was created as `restoring` be read."""
        ...

    def get(self, name: str, field: str = "collection") -> CollectionCore:
        """Find a collection."""
        ...

    def describe(self, *, with_deleted: bool = False) -> list[CollectionInfo]:
        """Describe all collections, by name."""
        ...

    def delete(self, name: str, version: int | None = None) -> None:
        """Delete a collection."""
        ...
