"""What clients and collections offer to leave by: exports, snapshots, restores.

The bodies of methods that `fanlight.client` and `fanlight.aio` mix in. Snapshots are made by
libraries that the SDK alone does not need, so their package is imported when it is used.
"""

# ruff: noqa: ASYNC109  the timeout is the deadline that the request carries, as in `Client`

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from fanlight.exporting import Account, AsyncExport, Export
from fanlight.exports import BATCH_ROWS, ExportRequest
from fanlight.inputs import as_share, as_uint32
from fanlight.operations import Operations

if TYPE_CHECKING:
    from fanlight.aio import AsyncCollection
    from fanlight.client import Collection
    from fanlight.driver import Driver
    from fanlight.snapshots.manifest import Snapshot
    from fanlight.transport import AsyncTransport

# Told of rows done and rows in all, now and then.
Progress = Callable[[int, int], None]


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


def _account(request: ExportRequest, min_coverage: float) -> Account:
    return Account(request, as_share("min_coverage", min_coverage))


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
        messages = await self._transport.run(self._operations.export(request, timeout))
        return AsyncExport(messages, account)

    async def snapshot(
        self, dest: str | PathLike[str], *, progress: Progress | None = None
    ) -> Snapshot:
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
        # It works on files, so it runs in a thread and has a transport for threads.
        client: Any = import_module("fanlight.client")
        with closing(self._transport.for_threads()) as transport:
            collection: Collection = client.Collection(self.name, self._operations, transport)
            return await asyncio.to_thread(collection.snapshot, dest, progress=progress)


class AsyncClientRestores:
    """What a client offers to bring a collection back. Mixed into `AsyncClient`."""

    _operations: Operations
    _transport: AsyncTransport

    async def restore(
        self,
        src: str | PathLike[str],
        *,
        name: str | None = None,
        progress: Progress | None = None,
    ) -> AsyncCollection:
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
        restores = ClientRestores()
        restores._operations = self._operations
        with closing(self._transport.for_threads()) as restores._transport:
            made = await asyncio.to_thread(restores.restore, src, name=name, progress=progress)
        aio: Any = import_module("fanlight.aio")
        collection: AsyncCollection = aio.AsyncCollection(
            made.name, self._operations, self._transport
        )
        return collection
