"""Exports as users read them, and what clients and collections offer to make and restore them.

The bodies of methods that `fanlight.client` and `fanlight.aio` mix in. Snapshots and files are
made by libraries that the SDK alone does not need, so those modules are imported when used.
"""

# ruff: noqa: ASYNC109  the timeout is the deadline that the request carries, as in `Client`

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from fanlight.errors import Corruption, FanlightError, InternalError, InvalidRequest, PartialResult
from fanlight.exports import BATCH_ROWS, ExportEnd, ExportRequest, ExportRows, ExportStart
from fanlight.inputs import as_number, as_uint32
from fanlight.model import CollectionInfo, Coverage, ShardFailure
from fanlight.operations import Operations
from fanlight.placement import shard_name
from fanlight.v1 import items_pb2
from fanlight.validation import check_min_coverage
from fanlight.wire.export_codec import from_export

if TYPE_CHECKING:
    from fanlight.client import Collection
    from fanlight.driver import Driver
    from fanlight.snapshots import Snapshot
    from fanlight.transport import AsyncTransport

# Told of rows done and rows in all, now and then.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ShardExport:
    """One shard's part of an export so far.

    Attributes:
        seq: its highest seq at the moment of its export: its rows are the outcome of all writes
            up to it and of none after.
        items: the items that it had then (after the id that the export began with, if one).
        received: those that came.
        shards: shards of its cluster.
        collection: the collection as it knew it; None when it failed before it could say.
        is_whole: whether all of them came, and its end.
        error: why not; None while it is under way.
    """

    seq: int = 0
    items: int = 0
    received: int = 0
    shards: int = 0
    collection: CollectionInfo | None = None
    is_whole: bool = False
    error: FanlightError | None = None


class _Account:
    """What each shard has sent, and whether it is enough."""

    def __init__(self, request: ExportRequest, min_coverage: float) -> None:
        self._request = request
        self._min_coverage = min_coverage
        self.shards: dict[int, ShardExport] = {}

    def take(self, message: items_pb2.ExportItemsResponse) -> ExportRows | None:
        """Enter a message; gives its rows, if it has some.

        Raises:
            PartialResult: a shard failed, and all are wanted.
            InternalError: the message does not belong here.
        """
        try:
            shard, part = from_export(message)
        except InvalidRequest as error:
            raise InternalError("the export has a malformed message") from error
        known = self.shards.get(shard, ShardExport())
        if isinstance(part, ExportStart):
            self.shards[shard] = ShardExport(
                part.seq, part.items, shards=part.shards, collection=part.collection
            )
        elif isinstance(part, ExportRows):
            self.shards[shard] = replace(known, received=known.received + len(part))
            return part
        else:
            self.shards[shard] = self._ended(known, part)
            if self._min_coverage == 1.0:
                self._demand(1.0, running=True)
        return None

    def _ended(self, known: ShardExport, end: ExportEnd) -> ShardExport:
        error = end.error
        if error is None and known.received != known.items:
            error = Corruption(f"sent {known.received} of {known.items} items")
        return replace(known, is_whole=error is None, error=error)

    def end(self) -> None:
        """Judge the export when its stream has ended.

        Raises:
            PartialResult: too few shards sent all their items.
        """
        for shard in self._expected():
            part = self.shards.get(shard, ShardExport())
            if not part.is_whole and part.error is None:
                error = InternalError("its part has no end")
                self.shards[shard] = replace(part, error=error)
        self._demand(self._min_coverage, running=False)

    def _expected(self) -> Sequence[int]:
        told = max((part.shards for part in self.shards.values()), default=0)
        return self._request.shards or range(max(told, len(self.shards)))

    @property
    def coverage(self) -> Coverage:
        """Tell which shards sent all their items, and how many came."""
        parts = self.shards
        known = [part.items for part in parts.values() if part.collection is not None]
        total = len(self._expected())
        return Coverage(
            shards_total=total,
            shards_answered=sum(part.is_whole for part in parts.values()),
            items_total=sum(known) if len(known) == total else None,
            items_covered=sum(part.received for part in parts.values() if part.is_whole),
            failures=tuple(
                ShardFailure(shard_name(shard), part.error)
                for shard, part in sorted(parts.items())
                if part.error is not None
            ),
        )

    def _demand(self, min_coverage: float, *, running: bool) -> None:
        coverage = self.coverage
        if not coverage.failures:
            return
        needed = math.ceil(min_coverage * coverage.shards_total - 1e-9)
        if running or coverage.shards_answered < needed:
            reasons = "; ".join(f"{f.shard}: {f.error}" for f in coverage.failures)
            raise PartialResult(f"the export is not whole: {reasons}", coverage=coverage)


class Export(Iterator[ExportRows]):
    """An export that is being read: an iterator of rows, and a context manager.

    The order of shards' rows is that of their arrival; a shard's own come by ascending id. What
    is not taken is not read, but the shards hold their moment, so take it soon or close it.

    Attributes:
        shards: what each shard has sent so far, by its index.
    """

    def __init__(
        self, messages: Generator[items_pb2.ExportItemsResponse, None, None], account: _Account
    ) -> None:
        """Do not call; see `Collection.export`."""
        self._messages = messages
        self._account = account
        self.shards = account.shards

    @property
    def coverage(self) -> Coverage:
        """Tell which shards sent all their items so far."""
        return self._account.coverage

    def __next__(self) -> ExportRows:
        """Give the next rows.

        Raises:
            PartialResult: too few shards send all their items.
            FanlightError: the connection, or all shards, failed.
        """
        for message in self._messages:
            rows = self._account.take(message)
            if rows is not None:
                return rows
        self._account.end()
        raise StopIteration

    def close(self) -> None:
        """Stop reading, and let the shards go."""
        self._messages.close()

    def __enter__(self) -> Export:
        """Give the export itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class AsyncExport(AsyncIterator[ExportRows]):
    """`Export`, to be iterated with `async for`."""

    def __init__(
        self, messages: AsyncGenerator[items_pb2.ExportItemsResponse, None], account: _Account
    ) -> None:
        """Do not call; see `AsyncCollection.export`."""
        self._messages = messages
        self._account = account
        self.shards = account.shards

    @property
    def coverage(self) -> Coverage:
        """Tell which shards sent all their items so far."""
        return self._account.coverage

    async def __anext__(self) -> ExportRows:
        """Give the next rows; raises as `Export` does."""
        async for message in self._messages:
            rows = self._account.take(message)
            if rows is not None:
                return rows
        self._account.end()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop reading, and let the shards go."""
        await self._messages.aclose()

    async def __aenter__(self) -> AsyncExport:
        """Give the export itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()


def _request(
    collection: str,
    shards: Sequence[int],
    after: int | str | None,
    batch_rows: int,
    with_vectors: bool,
    with_payloads: bool,
) -> ExportRequest:
    return ExportRequest(
        collection=collection,
        shards=tuple(as_uint32("shards", shard, least=0) for shard in shards),
        after=after,
        batch_rows=as_uint32("batch_rows", batch_rows, least=1),
        with_vectors=bool(with_vectors),
        with_payloads=bool(with_payloads),
    )


def _account(request: ExportRequest, min_coverage: float) -> _Account:
    check_min_coverage(as_number("min_coverage", min_coverage))
    return _Account(request, min_coverage)


class CollectionExports:
    """What a collection offers to leave by. Mixed into `Collection`."""

    name: str
    _operations: Operations
    _transport: Driver

    def export(
        self,
        *,
        shards: Sequence[int] = (),
        after: int | str | None = None,
        batch_rows: int = BATCH_ROWS,
        with_vectors: bool = True,
        with_payloads: bool = True,
        min_coverage: float = 1.0,
        timeout: float | None = None,
    ) -> Export:
        """Read all items, each shard's as they were at one moment; writes go on meanwhile.

        Args:
            shards: indexes of the shards to read; none for all.
            after: go on after this id, as an export of one shard that broke off does: its rest
                is then of a later moment. Takes exactly one of `shards`.
            batch_rows: rows that come at once at the most; about 1 MiB if that is less.
            with_vectors: read the vectors, as they were put, in float32.
            with_payloads: read the payloads.
            min_coverage: least share of the shards that must send all their items, in [0, 1].
            timeout: seconds for all of it; None for the client's own, or 3,600.

        Returns:
            An iterator of rows with `ids`, `vectors`, `payloads`, `seqs` and `shard`.

        Raises:
            NotFound: the collection does not exist.
            InvalidRequest: an argument cannot be.
            FanlightError: while it is read: `PartialResult` when a shard fails.
        """
        request = _request(self.name, shards, after, batch_rows, with_vectors, with_payloads)
        account = _account(request, min_coverage)
        return Export(self._transport.run(self._operations.export(request, timeout)), account)

    def snapshot(self, dest: str | PathLike[str], *, progress: Progress | None = None) -> Snapshot:
        """Write a snapshot of the collection, from which `Client.restore` makes it again.

        Each shard's items are of one moment; writes go on meanwhile. A shard that fails is read
        again for a while. What is written has no manifest until it is whole.

        Args:
            dest: a directory, empty or not there yet, or the URL of a place in an object store
                (s3://bucket/path, gs://, az://; needs `pip install 'fanlight[objects]'`).
            progress: called now and then with the rows written and the rows in all.

        Returns:
            What was written.

        Raises:
            NotFound: the collection does not exist.
            InvalidRequest: `dest` has something in it, or cannot be written.
            FanlightError: a shard failed for good; what was written is removed.
        """
        snapshots: Any = import_module("fanlight.snapshots")
        made: Snapshot = snapshots.take(self, dest, progress=progress)
        return made


class ClientRestores:
    """What a client offers to bring a collection back. Mixed into `Client`."""

    _operations: Operations
    _transport: Driver

    def restore(
        self,
        src: str | PathLike[str],
        *,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> Collection:
        """Make a collection from a snapshot, on any number of shards.

        All checksums are compared before anything is created. Until all items are written the
        collection refuses reads, and its description says `restoring`.

        Args:
            src: where the snapshot is; see `Collection.snapshot`.
            name: the new collection's; None for the name that it had.
            progress: called now and then with the rows written and the rows in all.

        Raises:
            Corruption: the snapshot is damaged or not whole; nothing was created.
            InvalidRequest: it is of a newer format than this version reads; nothing was created.
            AlreadyExists: there is a collection of that name.
            FanlightError: the restore broke off; what it had written is deleted, or, where that
                is not possible, stays marked as `restoring`.
        """
        snapshots: Any = import_module("fanlight.snapshots")
        restored: Collection = snapshots.restore(self, src, name=name, progress=progress)
        return restored


class AsyncCollectionExports:
    """What a collection offers to leave by. Mixed into `AsyncCollection`."""

    name: str
    _operations: Operations
    _transport: AsyncTransport

    async def export(
        self,
        *,
        shards: Sequence[int] = (),
        after: int | str | None = None,
        batch_rows: int = BATCH_ROWS,
        with_vectors: bool = True,
        with_payloads: bool = True,
        min_coverage: float = 1.0,
        timeout: float | None = None,
    ) -> AsyncExport:
        """Read all items, each shard's as they were at one moment; see `Collection.export`."""
        request = _request(self.name, shards, after, batch_rows, with_vectors, with_payloads)
        account = _account(request, min_coverage)
        messages = await self._transport.run(self._operations.export(request, timeout))
        return AsyncExport(messages, account)
