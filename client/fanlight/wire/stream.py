"""Searches for one server, packed into few messages on one long-lived stream.

A router asks its shards so, and an asynchronous client its router. A message on a stream costs half
of a call of its own (an echo over grpc.aio: 240 to 270 microseconds against 580 to 690, measured on
2 virtual cores), and much more than a search in it, so under load several callers' searches
travel together. When they leave is Nagle's rule (RFC 896): an idle server gets a search at once;
while messages are under way, searches are collected until one is answered, or until 15 ms after
the newest was sent, so that slow searches do not hold up quick ones. (With 5 ms and busy cores
messages left before any came back, which made them more and the cores busier: 99th percentile at
rest and while rows were written 59 and 78 ms, with 15 ms 37 and 58, at 1,400 searches a second, medians
of nine rounds; counted from the arrival of a search then, not from the message.)
Nor are they collected while they come so seldom that none is likely to join: what is refused would
be told so late.
Against two messages under way that makes larger messages, whose searches a shard runs together:
with 32 callers and everything on 2 busy cores, 1.6 searches a message became 2.9, and 254 and
283 searches a second became 369 and 368 (two runs each, with a bound of 2 ms).

Laws: a search whose caller has gone, or whose time is over, is not sent; if it was, the server is
told that nobody waits, and a late answer is dropped. A stream that breaks fails the searches on it; the next search opens another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import grpc

from fanlight.errors import DeadlineExceeded, FanlightError, NotReady, Overloaded
from fanlight.stacking import COLLECT_S
from fanlight.v1 import search_pb2 as pb
from fanlight.wire.arrivals import Arrivals
from fanlight.wire.pieces import Piece, Pieces, field, size_of
from fanlight.wire.status import from_error

if TYPE_CHECKING:
    _Call: TypeAlias = grpc.aio.StreamStreamCall[bytes, pb.SearchStreamResponse]

# Searches are collected only while another one is likely within so long (ADR 21).
_FREQUENT_S = 0.005
# A server that was idle ends a stream at once; one that is gone never does.
_CLOSE_S = 0.25
# A stream older than this is replaced by a new one, well before a server closes its connection for
# its age (`limits.age_s` and `limits.age_grace_s`).
_RENEW_S = 600.0
# Past this size the cost of a message is that of its bytes, and packing more saves nothing.
_PACK_BYTES = 1 << 20
# A tag, a timeout and the lengths around a search.
_ENVELOPE_BYTES = 64

T = TypeVar("T")
_PATH = "/fanlight.v1.SearchService/SearchStream"

_SEARCHES = pb.SearchStreamRequest.SEARCHES_FIELD_NUMBER
_SEARCH = pb.TaggedSearch.SEARCH_FIELD_NUMBER
# Reads an answer; raises a FanlightError when it is malformed.
Decode: TypeAlias = Callable[[pb.SearchResponse], T]
OpenStream: TypeAlias = "Callable[[AsyncIterator[bytes]], _Call]"
# Is told the failure, or None when the server just ended the stream; says what that means.
OnBreak: TypeAlias = Callable[[grpc.aio.AioRpcError | None], FanlightError]


@dataclass(eq=False, slots=True)
class _Search:
    """A search on its way, of so many bytes."""

    request: Pieces
    size: int
    expires_at: float
    decode: Decode[Any]
    answer: asyncio.Future[Any]


@dataclass(eq=False, slots=True)
class _Message:
    """A message that is under way while any of its searches is, sent at a moment of the loop."""

    sent_at: float
    searches: int = 0


class SearchStream:
    """The stream to one server. For one event loop.

    Args:
        channel: to the server.
        message_bytes: largest message.
        on_break: called when a stream breaks.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        message_bytes: int,
        on_break: OnBreak,
    ) -> None:
        # Without a serializer a message is its bytes.
        opener: Any = channel.stream_stream(
            _PATH, response_deserializer=pb.SearchStreamResponse.FromString
        )
        self._open_stream: OpenStream = opener
        self._message_bytes = message_bytes
        self._on_break = on_break
        self._session: _Session | None = None
        # Old ones with searches under way.
        self._retired: list[_Session] = []

    def submit(self, request: Pieces, timeout_s: float, decode: Decode[T]) -> asyncio.Future[T]:
        """Send a search; cancel the future to give it up.

        Args:
            request: the SearchRequest in pieces, which cost several servers only one copy each.
            timeout_s: seconds for which its caller waits.
            decode: reads the answer.

        Returns:
            A future of what `decode` gives, which fails with what that raises, with DeadlineExceeded
            when the time was over before it was sent, as the server says, or as the stream broke.

        Raises:
            Overloaded: the search does not fit a message.
        """
        size = size_of(request) + _ENVELOPE_BYTES
        if size > self._message_bytes:
            raise Overloaded(
                f"the search has {size} bytes, more than the limit of {self._message_bytes} "
                "(message_bytes); send fewer queries at once"
            )
        loop = asyncio.get_running_loop()
        answer, now = loop.create_future(), loop.time()
        self._current(now).add(_Search(request, size, now + timeout_s, decode, answer), now)
        return answer

    def open(self) -> _Session:
        """Give the open stream; open one when there is none, or when it has become old."""
        return self._current(asyncio.get_running_loop().time())

    def _current(self, now: float) -> _Session:
        session = self._session
        if session is not None and not session.ended:
            if now < session.opened_at + _RENEW_S:
                return session
            session.retire()
            self._retired = [*(old for old in self._retired if not old.ended), session]
        self._session = _Session(self._open_stream, self._on_break)
        return self._session

    def replace(self) -> Callable[[float], Awaitable[None]]:
        """Open another stream, for all further searches.

        Returns:
            What ends the old one when its last search is answered, or after so many seconds.
        """
        session, self._session = self.open(), None
        self.open()
        return session.finish

    async def close(self) -> None:
        """End the stream; searches on it fail."""
        sessions = [*self._retired, *([self._session] if self._session else [])]
        await asyncio.gather(*(session.close() for session in sessions))


class _Session:
    """One opened stream, until it breaks.

    Attributes:
        ended: whether it broke or was ended.
        opened_at: when it was opened, in the loop's time.
    """

    def __init__(self, open_stream: OpenStream, on_break: OnBreak) -> None:
        self.ended = self._is_closing = self._is_replaced = False
        # By tag; a search that is done, for whatever reason, is in neither.
        self._waiting: dict[int, _Search] = {}
        self._sent: dict[int, tuple[_Search, _Message]] = {}
        # Tags of searches that were sent and then given up; the server is to know.
        self._given_up: list[int] = []
        # Under way, in the order in which they were sent.
        self._messages: list[_Message] = []
        self._arrivals = Arrivals(_FREQUENT_S)
        self._tags = count(1)
        self._arrived, self._returned = asyncio.Event(), asyncio.Event()
        self._on_break = on_break
        self._call = open_stream(self._requests())
        self.opened_at = asyncio.get_running_loop().time()
        self._reader = asyncio.create_task(self._read())

    def retire(self) -> None:
        """End the requests once all searches were sent; the server then ends the stream."""
        self._is_replaced = True
        self._arrived.set()

    def add(self, search: _Search, now: float) -> None:
        self._arrivals.add(now)
        tag = next(self._tags)
        self._waiting[tag] = search
        search.answer.add_done_callback(partial(self._forget, tag))
        self._arrived.set()

    def _forget(self, tag: int, answer: asyncio.Future[Any]) -> None:
        """Let go of a search that was answered, has failed, or was given up by its caller."""
        self._waiting.pop(tag, None)
        if tag in self._sent:
            _, message = self._sent.pop(tag)
            if answer.cancelled() and not self.ended:
                self._given_up.append(tag)
                self._arrived.set()
            message.searches -= 1
            if not message.searches:
                self._messages.remove(message)
                self._returned.set()

    async def finish(self, timeout_s: float) -> None:
        """Send and answer what has been added, and end without being taken for a break."""
        self.retire()
        await asyncio.wait([self._reader], timeout=timeout_s)
        await self.close()

    def _end_requests(self) -> None:
        self._is_closing = True
        self._arrived.set()
        self._returned.set()

    async def close(self) -> None:
        """End the requests, upon which the server ends the stream; do not wait long for that."""
        self._end_requests()
        await asyncio.wait([self._reader], timeout=_CLOSE_S)
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader
        self._call.cancel()

    async def _requests(self) -> AsyncIterator[bytes]:
        """Give gRPC the next message whenever it has taken the last one."""
        while True:
            await self._turn()
            if self._is_closing or (self._is_replaced and not self._waiting):
                return
            message = self._pack()
            if message:
                yield message

    async def _turn(self) -> None:
        """Wait until there is something to say, and for company if that is likely to come."""
        while not (self._waiting or self._given_up or self._is_closing or self._is_replaced):
            self._arrived.clear()
            await self._arrived.wait()
        if self._messages and self._arrivals.are_frequent:
            self._returned.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._messages[-1].sent_at + COLLECT_S):
                    await self._returned.wait()

    def _pack(self) -> bytes:
        """Take waiting searches into a message, the longest-waiting first; empty without news."""
        now = asyncio.get_running_loop().time()
        head, packed, size = pb.SearchStreamRequest(cancelled=self._given_up), _Message(now), 0
        parts: list[Piece] = [head.SerializeToString()]
        self._given_up.clear()
        for tag, search in list(self._waiting.items()):
            if size and size + search.size > _PACK_BYTES:
                break
            del self._waiting[tag]
            left_ms = int((search.expires_at - now) * 1_000)
            if search.answer.done():
                continue
            if left_ms < 1:
                search.answer.set_exception(DeadlineExceeded("was too busy to take the search"))
                continue
            parts += _tagged(tag, left_ms, search.request)
            self._sent[tag] = (search, packed)
            packed.searches += 1
            size += search.size
        if packed.searches:
            self._messages.append(packed)
        return b"".join(parts)

    async def _read(self) -> None:
        failure: grpc.aio.AioRpcError | None = None
        try:
            async for message in self._call:
                for answer in message.answers:
                    self._settle(answer)
        except grpc.aio.AioRpcError as error:
            failure = error
        finally:
            self.ended = True
            replaced = NotReady("the connection was replaced")
            reason = replaced if self._is_replaced else self._on_break(failure)
            sent = [search for search, _ in self._sent.values()]
            for search in (*sent, *self._waiting.values()):
                if not search.answer.done():
                    search.answer.set_exception(copy(reason))

    def _settle(self, answer: pb.TaggedAnswer) -> None:
        if answer.tag not in self._sent:
            return
        search, _ = self._sent[answer.tag]
        if search.answer.done():
            return
        if answer.WhichOneof("outcome") != "response":
            search.answer.set_exception(from_error(answer.error))
            return
        try:
            search.answer.set_result(search.decode(answer.response))
        except FanlightError as error:
            search.answer.set_exception(error)


def _tagged(tag: int, timeout_ms: int, search: Pieces) -> Pieces:
    """Give the pieces of a message that add a search to it, which is copied once."""
    envelope = pb.TaggedSearch(tag=tag, timeout_ms=timeout_ms).SerializeToString()
    return field(_SEARCHES, envelope, *field(_SEARCH, *search))
