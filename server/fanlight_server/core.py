"""What the servicers ask of the shard's core; `Catalog` and `Collection` are the real ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Protocol

from fanlight.declarations import Declaration
from fanlight.errors import FanlightError
from fanlight.exports import ExportRequest, ExportRows
from fanlight.filters import FieldType, Filter
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
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
from fanlight.placement import ShardIdentity
from fanlight_server.writes import Matched


class SetsCore(Protocol):
    """The sets of one collection here; safe for many threads. Changes complete when on disk."""

    def append(self, name: str, ids: IdColumn, ttl_s: float | None = None) -> Future[int]:
        """Add ids."""
        ...

    def remove(self, name: str, ids: IdColumn) -> Future[int]:
        """Take ids out."""
        ...

    def expire(self, name: str, ttl_s: float) -> Future[int]:
        """Give all members a time to live."""
        ...

    def delete(self, name: str) -> Future[int]:
        """Take all members out."""
        ...

    def members(self, name: str) -> IdColumn:
        """List the members, ascending."""
        ...


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

    @property
    def sets(self) -> SetsCore:
        """Give the sets that searches exclude by name."""
        ...

    def count(self, filter: Filter | None = None) -> int:
        """Count the live items, or those that satisfy a filter."""
        ...

    def facets(self, field: str, filter: Filter | None = None, limit: int | None = None) -> Facets:
        """Count live items by the values of a field."""
        ...

    def matching(self, filter: Filter) -> list[Matched]:
        """List the items that satisfy a filter now, in parts of one write each."""
        ...

    def delete_matched(
        self, items: Matched, *, timeout_s: float | None = None
    ) -> Future[DeleteResult]:
        """Delete such a part, but what was written since; completes when on disk and visible."""
        ...

    def explain(
        self,
        request: SearchRequest,
        id_: IdColumn,
        score: float | None,
        *,
        timeout_s: float | None = None,
    ) -> Explanation:
        """Tell why an item is, or is not, in the answer to a search."""
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
    def data_id(self) -> str:
        """Tell which data this is."""
        ...

    @property
    def peers(self) -> Mapping[int, str]:
        """Give the data of the cluster's other shards, as this one has met them."""
        ...

    def accept_data(self, data: Mapping[int, str], *, replace: bool = False) -> None:
        """Take data for that of other shards from now on."""
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

    def update(
        self,
        name: str,
        add: Mapping[str, FieldType],
        drop: Iterable[str],
        ef_search: int | None = None,
    ) -> CollectionInfo:
        """Declare filterable fields, or drop some, or set `ef_search`."""
        ...

    def declare(self, name: str, declaration: Declaration) -> CollectionInfo:
        """Take the fields that a router declares."""
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
