"""The searches of an asynchronous client: on one long-lived stream, equal ones together.

A call of its own for each search would cost both sides twice as much as a message on a stream
(see `fanlight.wire.stream`).
"""

from __future__ import annotations

import asyncio

import grpc

from fanlight.errors import DeadlineExceeded, FanlightError, NotReady
from fanlight.model import Hits, SearchRequest
from fanlight.stacking import ClientBounds
from fanlight.wire.channels import MESSAGE_BYTES
from fanlight.wire.codec import from_hits
from fanlight.wire.search_pieces import pieces_of
from fanlight.wire.stacker import Stacker
from fanlight.wire.status import from_rpc_error, has_detail
from fanlight.wire.stream import SearchStream


class StreamBroke(NotReady):
    """The stream broke and nobody knows why: a call of its own will tell.

    When a server refuses a stream (for its key, say) while a message is being written, gRPC
    reports an error of its own, and not the server's.
    """


class StreamedSearches:
    """The searches on one channel. For one event loop."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Open the stream with the first search."""
        self._stream = SearchStream(channel, MESSAGE_BYTES, _reason)
        self._stacker = Stacker(self._ask, ClientBounds())

    async def search(self, request: SearchRequest, timeout_s: float) -> Hits:
        """Answer a search.

        Raises:
            FanlightError: as the server says, or how the stream broke.
            DeadlineExceeded: no answer came in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._stacker.submit(request, timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {timeout_s:.3g} s") from None

    def _ask(self, request: SearchRequest, timeout_s: float | None) -> asyncio.Future[Hits]:
        assert timeout_s is not None
        return self._stream.submit(
            pieces_of(request), timeout_s, lambda response: from_hits(response, request.width)
        )

    async def close(self) -> None:
        """End the stream; searches under way fail."""
        self._stacker.close()
        await self._stream.close()


def _reason(error: grpc.aio.AioRpcError | None) -> FanlightError:
    if error is None:
        return NotReady("the router ended the stream")
    if error.code() is grpc.StatusCode.INTERNAL and not has_detail(error):
        return StreamBroke("the stream broke")
    return from_rpc_error(error)
