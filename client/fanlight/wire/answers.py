"""One search stream: searches come in, answers leave as they are done.

Laws: one bad search never ends the stream. Answers that are done together leave in one message.
A caller who does not read his answers, or asks faster than they come, is not read from. Large
answers hold room from the moment that they are asked for until they are sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

import grpc

from fanlight.admission import Room, answer_bytes, items_bytes
from fanlight.errors import FanlightError, InvalidRequest, NotReady
from fanlight.limits import Limits
from fanlight.model import Hits, SearchRequest
from fanlight.stacking import size_of
from fanlight.v1 import search_pb2 as pb
from fanlight.validation import check_search_parameters
from fanlight.wire import codec
from fanlight.wire.authorizer import check_collection
from fanlight.wire.guard import answer_too_large, for_caller
from fanlight.wire.status import to_error

# Searches of one stream under way, answers not yet sent included. It is far above what keeps
# all threads busy, and far below `limits.in_flight`, so that one stream cannot use that up.
UNDER_WAY_MAX = 256
# Answers are joined into messages up to about this size; more gains nothing.
JOINED_BYTES = 1 << 20

# Starts a search that has this many seconds (or None), or refuses it with a FanlightError.
Submit: TypeAlias = Callable[[SearchRequest, float | None], asyncio.Future[Hits]]
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class AnswerRoom:
    """The room for the answers of one server; see `fanlight.admission`. For one event loop.

    Attributes:
        limits: of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._room = Room("answer", limits.bytes_in_flight)

    def take(self, request: SearchRequest) -> int:
        """Reserve room for the answer of a search; tells how much, for `give_back`.

        Raises:
            InvalidRequest: a parameter is out of range, which no other room would mend.
            Overloaded: there is none.
        """
        size = answer_bytes(request, size_of(request), self.limits)
        if size:
            check_search_parameters(request, self.limits)
            self._room.take(size)
        return size

    def give_back(self, size: int) -> None:
        """Free it."""
        self._room.give_back(size)

    def hold_hits(self, request: SearchRequest, context: _Context) -> None:
        """Reserve room for the answer of a search until the call has ended; raises as `take`."""
        self._until_the_end(self.take(request), context)

    def hold_items(self, rows: int, context: _Context) -> None:
        """Reserve room for so many items until the call has ended; raises as `take`."""
        size = items_bytes(rows, self.limits)
        if size:
            self._room.take(size)
        self._until_the_end(size, context)

    def _until_the_end(self, size: int, context: _Context) -> None:
        def on_end(_: object) -> None:
            self._room.give_back(size)

        if size:
            context.add_done_callback(cast(Any, on_end))


@dataclass(frozen=True, slots=True)
class _Done:
    """A message with one answer, and its bytes."""

    message: pb.SearchStreamResponse
    size: int


class AnswerStream:
    """The searches of one stream; used from one event loop."""

    def __init__(self, submit: Submit, answers: AnswerRoom) -> None:
        self._submit = submit
        self._answers = answers
        self._limits = answers.limits
        # Bytes of room that answers hold, by tag; those of small ones hold none.
        self._held: dict[int, int] = {}
        self._searching: dict[int, asyncio.Future[Hits]] = {}
        # Messages with one answer each: to join the others to the first copies no large one.
        self._done: deque[_Done] = deque()
        # Set when there is something to send, or nothing left to wait for.
        self._news = asyncio.Event()
        # Set when a message was sent.
        self._room = asyncio.Event()

    async def answer(
        self, requests: AsyncIterable[pb.SearchStreamRequest]
    ) -> AsyncGenerator[pb.SearchStreamResponse, None]:
        """Start every search of `requests` and yield the answers.

        Raises:
            InvalidRequest: a message is malformed; the searches under way are given up.
        """
        reader = asyncio.create_task(self._read(requests))
        reader.add_done_callback(self._on_read)
        try:
            while self._searching or self._done or not reader.done():
                await self._news.wait()
                self._news.clear()
                while self._done:
                    message = self._take_done()
                    yield message
                    if self._held:
                        self._free([answer.tag for answer in message.answers])
                    self._room.set()
                if reader.done():
                    reader.result()
        finally:
            reader.cancel()
            for search in self._searching.values():
                search.cancel()
            self._free(list(self._held))

    def _free(self, tags: list[int]) -> None:
        for tag in tags:
            self._answers.give_back(self._held.pop(tag, 0))

    async def _read(self, requests: AsyncIterable[pb.SearchStreamRequest]) -> None:
        async for message in requests:
            for tag in message.cancelled:
                self._give_up(tag)
            for tagged in message.searches:
                self._start(tagged)
            while len(self._searching) + len(self._done) >= UNDER_WAY_MAX:
                self._room.clear()
                await self._room.wait()

    def _on_read(self, reader: asyncio.Task[None]) -> None:
        self._news.set()
        if not reader.cancelled():
            reader.exception()  # seen, even when the stream was given up before

    def _start(self, tagged: pb.TaggedSearch) -> None:
        tag = tagged.tag
        try:
            if tag in self._searching or tag in self._held:
                raise InvalidRequest.of_field("tag", "one that is not under way", str(tag))
            timeout_s = tagged.timeout_ms / 1000 if tagged.HasField("timeout_ms") else None
            check_collection(tagged.search.collection)
            request = codec.from_search(tagged.search)
            size = self._answers.take(request)
            if size:
                self._held[tag] = size
            search = self._submit(request, timeout_s)
        except FanlightError as error:
            self._fail(tag, error)
            return
        self._searching[tag] = search
        if search.done():
            self._on_done(tag, search)
        else:
            search.add_done_callback(partial(self._on_done, tag))

    def _give_up(self, tag: int) -> None:
        """Drop a search whose caller has gone; one that is unknown was answered meanwhile."""
        search = self._searching.pop(tag, None)
        if search is not None:
            search.cancel()
            self._free([tag])
            self._news.set()
            self._room.set()

    def _on_done(self, tag: int, search: asyncio.Future[Hits]) -> None:
        if self._searching.get(tag) is not search:
            return  # given up
        del self._searching[tag]
        try:
            if search.cancelled():
                raise NotReady("the search was given up before it ended")
            message = pb.SearchStreamResponse()
            codec.fill_hits(message.answers.add(tag=tag).response, search.result())
            size = message.ByteSize()
            if size > self._limits.message_bytes:
                raise answer_too_large(size, self._limits.message_bytes)
        except Exception as error:
            self._fail(tag, for_caller(error, "SearchStream"))
        else:
            self._add(_Done(message, size))

    def _fail(self, tag: int, error: FanlightError) -> None:
        message = pb.SearchStreamResponse()
        message.answers.add(tag=tag, error=to_error(error))
        self._add(_Done(message, message.ByteSize()))

    def _add(self, done: _Done) -> None:
        self._done.append(done)
        self._news.set()

    def _take_done(self) -> pb.SearchStreamResponse:
        """Take the answers of one message: at least one."""
        first = self._done.popleft()
        room = min(JOINED_BYTES, self._limits.message_bytes) - first.size
        while self._done and self._done[0].size <= room:
            joined = self._done.popleft()
            first.message.MergeFrom(joined.message)
            room -= joined.size
        return first.message
