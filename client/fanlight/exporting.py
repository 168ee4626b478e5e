"""Exports as users read them: iterators of rows that keep account of every shard."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from fanlight.errors import Corruption, FanlightError, InternalError, InvalidRequest, PartialResult
from fanlight.exports import ExportEnd, ExportRequest, ExportRows, ExportStart
from fanlight.model import CollectionInfo, Coverage, ShardFailure
from fanlight.placement import shard_name
from fanlight.v1 import items_pb2
from fanlight.wire.export_codec import from_export


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


class Account:
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
        self, messages: Generator[items_pb2.ExportItemsResponse, None, None], account: Account
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
        self, messages: AsyncGenerator[items_pb2.ExportItemsResponse, None], account: Account
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
