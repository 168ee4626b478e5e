"""Searches that arrive while others are under way, put together.

Law: a search of a kind that nothing is under way for leaves with those of the same turn of the
loop. While searches of its kind are, it waits for the first of them to return, 15 ms at the
longest, and leaves together with all others that came meanwhile (J. Nagle, RFC 896, applied to
searches), also with those of callers who got their answers then and asked again at once: a
number of callers who wait become one group, whose searches are one call. So a lonely caller loses
nothing, and many callers share few calls. A search whose time is over by then is not sent, and a
stack that nobody waits for any more is given up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from fanlight.admission import RETRY_MIN_S
from fanlight.errors import DeadlineExceeded, NotReady, Overloaded
from fanlight.model import Hits, SearchRequest
from fanlight.stacking import (
    COLLECT_S,
    LARGE,
    Bounds,
    kind_of,
    may_be_of_one,
    room_for,
    size_of,
    stacked,
    taken_apart,
)

# Answers a search whose caller waits so many seconds (None: any time).
Run: TypeAlias = Callable[[SearchRequest, float | None], Awaitable[Hits]]


@dataclass(eq=False, slots=True)
class _Waiting:
    """A search whose caller waits, until a moment of the loop's time if it said so."""

    request: SearchRequest
    expires_at: float | None
    answer: asyncio.Future[Hits]


@dataclass(eq=False, slots=True)
class _Kind:
    """The searches of one kind.

    Attributes:
        waiting: those not sent yet, in order.
        under_way: stacks that were sent.
        launch: when the waiting ones leave, if that is settled.
    """

    waiting: deque[_Waiting] = field(default_factory=deque)
    under_way: int = 0
    launch: asyncio.Handle | None = None


class Stacker:
    """See the module. For one event loop.

    Args:
        run: answers a search.
        limits: what one search may hold, and how many may be under way.
        collect_s: seconds for which a search waits for another to return.

    Attributes:
        under_way: searches that callers wait for.
    """

    def __init__(self, run: Run, limits: Bounds, collect_s: float = COLLECT_S) -> None:
        self._run = run
        self._limits = limits
        self._collect_s = collect_s
        self._loop = asyncio.get_running_loop()
        self._kinds: dict[Hashable, _Kind] = {}
        self._stacks: set[asyncio.Future[Hits]] = set()
        self.under_way = 0

    def submit(self, request: SearchRequest, timeout_s: float | None) -> asyncio.Future[Hits]:
        """Send a search, alone or with others; cancel the future to give it up.

        Args:
            request: the search.
            timeout_s: seconds for which its caller waits; in company, the longest of all counts.

        Returns:
            A future that fails with what `run` raises.

        Raises:
            Overloaded: too many searches are under way.
        """
        if self.under_way >= self._limits.in_flight:
            raise Overloaded(
                f"{self.under_way} searches are under way, which is the limit (in_flight)",
                retry_after_s=RETRY_MIN_S,
            )
        answer = self._start(request, timeout_s)
        self.under_way += 1
        answer.add_done_callback(self._on_done)
        return answer

    def _on_done(self, _: object) -> None:
        self.under_way -= 1

    def _start(self, request: SearchRequest, timeout_s: float | None) -> asyncio.Future[Hits]:
        if size_of(request) >= LARGE:
            return asyncio.ensure_future(self._run(request, timeout_s))
        key = kind_of(request)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind()
        answer: asyncio.Future[Hits] = self._loop.create_future()
        expires_at = None if timeout_s is None else self._loop.time() + timeout_s
        kind.waiting.append(_Waiting(request, expires_at, answer))
        if kind.launch is None:
            if kind.under_way:
                kind.launch = self._loop.call_later(self._collect_s, self._launch, key, kind)
            else:
                kind.launch = self._loop.call_soon(self._launch, key, kind)
        return answer

    def close(self) -> None:
        """Give up all searches."""
        for kind in self._kinds.values():
            for waiting in kind.waiting:
                waiting.answer.cancel()
        for stack in list(self._stacks):
            stack.cancel()

    def _launch(self, key: Hashable, kind: _Kind) -> None:
        """Send a stack of what waits."""
        if kind.launch is not None:
            kind.launch.cancel()
            kind.launch = None
        taken = self._take(kind)
        if taken:
            kind.under_way += 1
            stack = self._run_together(taken)
            self._stacks.add(stack)
            stack.add_done_callback(partial(self._on_return, key, kind, taken))
        elif not kind.under_way:
            self._kinds.pop(key, None)
        if kind.waiting:
            kind.launch = self._loop.call_soon(self._launch, key, kind)

    def _take(self, kind: _Kind) -> list[_Waiting]:
        """Take as many waiting searches as one request may hold, of those still wanted."""
        taken: list[_Waiting] = []
        now = self._loop.time()
        room = room_for(kind.waiting[0].request, self._limits) if kind.waiting else 0
        while kind.waiting:
            size = size_of(kind.waiting[0].request)
            if taken and size > room:
                break
            waiting = kind.waiting.popleft()
            if waiting.expires_at is not None and waiting.expires_at <= now:
                _fail([waiting], DeadlineExceeded("the deadline passed before the search was sent"))
            elif not waiting.answer.done():
                taken.append(waiting)
                room -= size
        return taken

    def _run_together(self, taken: Sequence[_Waiting]) -> asyncio.Future[Hits]:
        ends = [w.expires_at for w in taken if w.expires_at is not None]
        longest = max(ends) - self._loop.time() if len(ends) == len(taken) else None
        stack = asyncio.ensure_future(self._run(stacked([w.request for w in taken]), longest))
        for waiting in taken:
            waiting.answer.add_done_callback(partial(_on_gone, taken, stack))
        return stack

    def _on_return(
        self,
        key: Hashable,
        kind: _Kind,
        taken: Sequence[_Waiting],
        stack: asyncio.Future[Hits],
    ) -> None:
        self._stacks.discard(stack)
        kind.under_way -= 1
        self._settle(taken, stack)
        if kind.launch is not None:
            kind.launch.cancel()
        # After the callers who have their answers now, and may ask again at once.
        kind.launch = self._loop.call_soon(self._launch, key, kind)

    def _settle(self, taken: Sequence[_Waiting], stack: asyncio.Future[Hits]) -> None:
        if stack.cancelled():
            _fail(taken, NotReady("the search was given up before it ended"))
        elif (error := stack.exception()) is None:
            parts = taken_apart(stack.result(), [size_of(w.request) for w in taken])
            for waiting, part in zip(taken, parts, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(part)
        elif len(taken) > 1 and may_be_of_one(error):
            for waiting in taken:
                alone = self._run_together([waiting])
                alone.add_done_callback(partial(self._settle, [waiting]))
        else:
            _fail(taken, error)


def _on_gone(
    taken: Sequence[_Waiting], stack: asyncio.Future[Hits], answer: asyncio.Future[Hits]
) -> None:
    """Give a stack up with the last of its callers."""
    if answer.cancelled() and all(waiting.answer.done() for waiting in taken):
        stack.cancel()


def _fail(taken: Sequence[_Waiting], error: BaseException) -> None:
    for waiting in taken:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
