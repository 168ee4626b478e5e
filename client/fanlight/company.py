"""Searches of threads that wait at the same moment, put together.

The rule is that of `fanlight.wire.stacker`, for threads: a search of a kind that nothing is under
way for leaves at once; others wait for that to return, 15 ms at the longest, and leave together.
There is no thread but the callers' own: the one that has waited longest carries the searches of
all that wait (as in flat combining: Hendler, Incze, Shavit, Tzafrir, SPAA 2010).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fanlight.errors import DeadlineExceeded, FanlightError
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

# Answers a search within so many seconds.
Run: TypeAlias = Callable[[SearchRequest, float], Hits]


@dataclass(eq=False, slots=True)
class _Member:
    """A thread that waits.

    Attributes:
        turn: set when there is an outcome, or when this thread is to carry what waits.
        carries: whether it is, in company or alone.
        outcome: its hits, or why there are none.
    """

    request: SearchRequest
    expires_at: float
    turn: threading.Event = field(default_factory=threading.Event)
    carries: bool = False
    outcome: Hits | BaseException | None = None

    @property
    def left_s(self) -> float:
        return max(0.0, self.expires_at - time.monotonic())


@dataclass(eq=False, slots=True)
class _Kind:
    """The searches of one kind: calls under way, and who waits."""

    under_way: int = 0
    waiting: deque[_Member] = field(default_factory=deque)


class Company:
    """See the module. Thread-safe; not for use across a fork.

    Args:
        run: answers a search.
        limits: what one search may hold.
        collect_s: seconds for which a search waits for another to return.
    """

    def __init__(self, run: Run, limits: Bounds, collect_s: float = COLLECT_S) -> None:
        self._run = run
        self._limits = limits
        self._collect_s = collect_s
        # guards the kinds and what they hold
        self._lock = threading.Lock()
        self._kinds: dict[Hashable, _Kind] = {}

    def search(self, request: SearchRequest, timeout_s: float) -> Hits:
        """Answer a search, alone or together with those of other threads.

        Raises:
            DeadlineExceeded: no answer came in time.
            FanlightError: what `run` raises.
        """
        if size_of(request) >= LARGE:
            return self._run(request, timeout_s)
        key = kind_of(request)
        me = _Member(request, time.monotonic() + timeout_s)
        with self._lock:
            kind = self._kinds.setdefault(key, _Kind())
            if kind.under_way:
                kind.waiting.append(me)
            else:
                kind.under_way, me.carries = 1, True
        if not me.carries:
            self._wait(key, kind, me)
        return self._carry(key, kind, me) if me.carries else self._result(me)

    def _wait(self, key: Hashable, kind: _Kind, me: _Member) -> None:
        """Wait for an outcome, or for the turn to carry; do not wait long for the latter."""
        try:
            if me.turn.wait(min(self._collect_s, me.left_s)):
                return
            with self._lock:
                if me in kind.waiting:
                    kind.waiting.remove(me)
                    if me.left_s:
                        me.carries = True
                        kind.under_way += 1
            if not me.carries and not me.turn.wait(me.left_s):
                me.outcome = DeadlineExceeded("no answer came before the deadline")
        except BaseException:  # Ctrl-C, say: the others are not to wait for this thread
            self._leave(key, kind, me)
            raise

    def _leave(self, key: Hashable, kind: _Kind, me: _Member) -> None:
        """Go without an answer, or without having carried anything."""
        with self._lock:
            if me in kind.waiting:
                kind.waiting.remove(me)
        if me.carries:
            self._pass_on(key, kind)

    def _carry(self, key: Hashable, kind: _Kind, me: _Member) -> Hits:
        """Answer a search and those that wait by now; give its hits."""
        load = self._load(kind, me)
        outcomes: Sequence[Hits | BaseException]
        try:
            longest = max(member.left_s for member in load)
            hits = self._run(stacked([member.request for member in load]), longest)
            outcomes = taken_apart(hits, [size_of(member.request) for member in load])
        except BaseException as error:
            outcomes = [error] * len(load)
        try:
            for member, outcome in zip(load, outcomes, strict=True):
                if member.outcome is None:
                    member.outcome = outcome
                member.turn.set()
        finally:
            self._pass_on(key, kind)
        return self._result(me, alone=len(load) == 1)

    def _load(self, kind: _Kind, me: _Member) -> list[_Member]:
        """Take as many of those that wait as one request may hold."""
        load, room = [me], room_for(me.request, self._limits) - size_of(me.request)
        with self._lock:
            while kind.waiting and size_of(kind.waiting[0].request) <= room:
                load.append(kind.waiting.popleft())
                room -= size_of(load[-1].request)
        return load

    def _pass_on(self, key: Hashable, kind: _Kind) -> None:
        """Give the turn to the thread that has waited longest.

        It comes after the threads that have their answers, so that those of them that ask again at
        once are in its company.
        """
        with self._lock:
            if kind.waiting:
                following = kind.waiting.popleft()
                following.carries = True
                following.turn.set()
                return
            kind.under_way -= 1
            if not kind.under_way:
                self._kinds.pop(key, None)

    def _result(self, me: _Member, alone: bool = False) -> Hits:
        outcome = me.outcome
        if isinstance(outcome, Hits):
            return outcome
        assert outcome is not None
        # What befell the thread that carried the search (Ctrl-C, say) is not this one's matter.
        foreign = not me.carries and not isinstance(outcome, FanlightError)
        if foreign or (not alone and may_be_of_one(outcome)):
            return self._run(me.request, me.left_s)
        raise outcome
