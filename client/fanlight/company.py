"""Searches of threads that wait at the same moment, put together.

The rule is that of `fanlight.wire.stacker`, for threads: a search of a kind that little is under
way for leaves at once; others wait for one of those to return, and leave together. There is no
thread but the callers' own: the one that has waited longest carries the searches of all that
wait (as in flat combining: Hendler, Incze, Shavit, Tzafrir, SPAA 2010).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeAlias

from fanlight.errors import DeadlineExceeded, FanlightError
from fanlight.model import Hits, SearchRequest
from fanlight.stacking import (
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

# Calls of one kind under way before further searches wait.
_UNDER_WAY = 2
# A search of so many queries gains nothing from company.
_LARGE = 64


@dataclass(eq=False, slots=True)
class _Member:
    """A thread that waits.

    Attributes:
        turn: set when there is an outcome, or when this thread is to carry `load`.
        load: the searches to carry, its own first.
        outcome: its hits, or why there are none.
    """

    request: SearchRequest
    expires_at: float
    turn: threading.Event = field(default_factory=threading.Event)
    load: list[_Member] = field(default_factory=list)
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
    """

    def __init__(self, run: Run, limits: Bounds) -> None:
        self._run = run
        self._limits = limits
        # guards the kinds and what they hold
        self._lock = threading.Lock()
        self._kinds: dict[Hashable, _Kind] = {}

    def search(self, request: SearchRequest, timeout_s: float) -> Hits:
        """Answer a search, alone or together with those of other threads.

        Raises:
            DeadlineExceeded: no answer came in time.
            FanlightError: what `run` raises.
        """
        if size_of(request) >= _LARGE:
            return self._run(request, timeout_s)
        key = kind_of(request)
        me = _Member(request, time.monotonic() + timeout_s)
        with self._lock:
            kind = self._kinds.setdefault(key, _Kind())
            if kind.under_way < _UNDER_WAY:
                kind.under_way += 1
                me.load = [me]
            else:
                kind.waiting.append(me)
        if not me.load:
            self._wait(kind, me)
        if me.load:
            self._carry(key, kind, me.load)
        return self._result(me)

    def _wait(self, kind: _Kind, me: _Member) -> None:
        """Wait for an outcome, or for the turn to carry a load."""
        if me.turn.wait(me.left_s):
            return
        with self._lock:
            if me in kind.waiting:
                kind.waiting.remove(me)
            if not me.load and me.outcome is None:
                me.outcome = DeadlineExceeded("no answer came before the deadline")

    def _carry(self, key: Hashable, kind: _Kind, load: list[_Member]) -> None:
        try:
            longest = max(member.left_s for member in load)
            hits = self._run(stacked([member.request for member in load]), longest)
            outcomes: list[Hits | BaseException] = [
                *taken_apart(hits, [size_of(member.request) for member in load])
            ]
        except BaseException as error:
            outcomes = [error] * len(load)
        finally:
            self._pass_on(key, kind)
        for member, outcome in zip(load, outcomes, strict=True):
            if member.outcome is None:
                member.outcome = outcome
            member.turn.set()

    def _pass_on(self, key: Hashable, kind: _Kind) -> None:
        """Let the thread that has waited longest carry what waits."""
        with self._lock:
            if not kind.waiting:
                kind.under_way -= 1
                if not kind.under_way:
                    self._kinds.pop(key, None)
                return
            load = [kind.waiting.popleft()]
            room = room_for(load[0].request, self._limits) - size_of(load[0].request)
            while kind.waiting and size_of(kind.waiting[0].request) <= room:
                load.append(kind.waiting.popleft())
                room -= size_of(load[-1].request)
            load[0].load = load
        load[0].turn.set()

    def _result(self, me: _Member) -> Hits:
        outcome = me.outcome
        if isinstance(outcome, Hits):
            return outcome
        assert outcome is not None
        # What befell the thread that carried the search (Ctrl-C, say) is not this one's matter.
        foreign = not me.load and not isinstance(outcome, FanlightError)
        shared = len(me.load) != 1
        if foreign or (shared and may_be_of_one(outcome)):
            return self._run(me.request, me.left_s)
        raise outcome
