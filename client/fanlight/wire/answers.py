"""One search stream: searches come in, answers leave as they are done.

Laws: one bad search never ends the stream. Answers that are done together leave in one message.
A caller who does not read his answers, or asks faster than they come, is not read from.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from functools import partial
from typing import TypeAlias

from fanlight.errors import FanlightError, InvalidRequest, NotReady
from fanlight.model import Hits, SearchRequest
from fanlight.v1 import search_pb2 as pb
from fanlight.wire import codec
from fanlight.wire.authorizer import check_collection
from fanlight.wire.guard import answer_too_large, for_caller
from fanlight.wire.status import to_error

# Searches of one stream under way, answers not yet sent included. It is far above what keeps
# all threads busy, and far below `limits.in_flight`, so that one stream cannot use that up.
UNDER_WAY_MAX = 256
# Answers are joined into messages up to about this size; more gains nothing.
JOINED_BYTES = 1 << 20
# What a message adds to its only answer: a key and a length.
_FRAME_BYTES = 16

# Starts a search that has this many seconds (or None), or refuses it with a FanlightError.
Submit: TypeAlias = Callable[[SearchRequest, float | None], asyncio.Future[Hits]]


class AnswerStream:
    """The searches of one stream; used from one event loop."""

    def __init__(self, submit: Submit, message_bytes: int) -> None:
        self._submit = submit
        self._answer_bytes_max = message_bytes - _FRAME_BYTES
        self._searching: dict[int, asyncio.Future[Hits]] = {}
        self._done: deque[pb.TaggedAnswer] = deque()
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
                    yield pb.SearchStreamResponse(answers=self._take_done())
                    self._room.set()
                if reader.done():
                    reader.result()
        finally:
            reader.cancel()
            for search in self._searching.values():
                search.cancel()

    async def _read(self, requests: AsyncIterable[pb.SearchStreamRequest]) -> None:
        async for message in requests:
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
            if tag in self._searching:
                raise InvalidRequest.of_field("tag", "one that is not under way", str(tag))
            timeout_s = tagged.timeout_ms / 1000 if tagged.HasField("timeout_ms") else None
            check_collection(tagged.search.collection)
            search = self._submit(codec.from_search(tagged.search), timeout_s)
        except FanlightError as error:
            self._add(pb.TaggedAnswer(tag=tag, error=to_error(error)))
            return
        self._searching[tag] = search
        if search.done():
            self._on_done(tag, search)
        else:
            search.add_done_callback(partial(self._on_done, tag))

    def _on_done(self, tag: int, search: asyncio.Future[Hits]) -> None:
        del self._searching[tag]
        try:
            if search.cancelled():
                raise NotReady("the search was given up before it ended")
            answer = pb.TaggedAnswer(tag=tag, response=codec.to_hits(search.result()))
            if answer.ByteSize() > self._answer_bytes_max:
                raise answer_too_large(answer.ByteSize(), self._answer_bytes_max)
        except Exception as error:
            answer = pb.TaggedAnswer(tag=tag, error=to_error(for_caller(error, "SearchStream")))
        self._add(answer)

    def _add(self, answer: pb.TaggedAnswer) -> None:
        self._done.append(answer)
        self._news.set()

    def _take_done(self) -> list[pb.TaggedAnswer]:
        """Take the answers of one message: at least one."""
        answers = [self._done.popleft()]
        room = JOINED_BYTES - answers[0].ByteSize()
        while self._done and (size := self._done[0].ByteSize()) <= room:
            room -= size
            answers.append(self._done.popleft())
        return answers
