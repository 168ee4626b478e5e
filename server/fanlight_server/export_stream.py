"""The answering side of ExportItems on a shard server: few at a time, each within its time.

Laws: the rows of an export are read in a thread, one message ahead of nobody: what the caller
does not take is not read. An export that is not taken in time is ended, so that it cannot hold
the store's moment for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from fanlight.errors import InvalidRequest, Overloaded
from fanlight.exports import ExportEnd, ExportPart, ExportRequest, ExportStart
from fanlight.limits import Limits
from fanlight.placement import ShardIdentity
from fanlight_server.core import CollectionCore, ExportCore
from fanlight_server.workers import Workers

# An export takes seconds to hours; a caller who is refused does not hurry.
_RETRY_AFTER_S = 5.0


class ExportStreams:
    """The exports of one shard server. For one event loop."""

    def __init__(self, workers: Workers, limits: Limits) -> None:
        self._workers = workers
        self._limits = limits
        self._open = 0

    async def parts(
        self,
        collection: CollectionCore,
        shard: ShardIdentity,
        request: ExportRequest,
        timeout_s: float | None,
    ) -> AsyncGenerator[ExportPart, None]:
        """Give the start, the rows and the end of this shard.

        Raises:
            InvalidRequest: the request is not for this shard, or as the collection says.
            Overloaded: too many exports are under way.
            DeadlineExceeded: the rows were not taken in time.
        """
        if any(index != shard.index for index in request.shards):
            expected, got = f"{shard.index} or none", ", ".join(map(str, request.shards))
            raise InvalidRequest.of_field("shards", expected, got)
        async with self._opened(collection, request, timeout_s) as export:
            yield ExportStart(shard.count, export.seq, export.items, export.info)
            while (rows := await self._workers.run(export.take)) is not None:
                yield rows
            yield ExportEnd()

    @asynccontextmanager
    async def _opened(
        self, collection: CollectionCore, request: ExportRequest, timeout_s: float | None
    ) -> AsyncIterator[ExportCore]:
        if self._open >= self._limits.exports:
            raise Overloaded(
                f"{self._open} exports are under way, which is the limit (exports)",
                retry_after_s=_RETRY_AFTER_S,
            )
        longest_s = self._limits.export_s
        left_s = longest_s if timeout_s is None else min(timeout_s, longest_s)
        self._open += 1
        try:
            opening = asyncio.ensure_future(self._workers.run(lambda: collection.export(request)))
            try:
                export = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_opened)
                raise
            timer = asyncio.get_running_loop().call_later(left_s, export.close)
            try:
                yield export
            finally:
                timer.cancel()
                export.close()
        finally:
            self._open -= 1


def _close_opened(opening: asyncio.Future[ExportCore]) -> None:
    """Close what was opened for a caller who had gone by then."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
