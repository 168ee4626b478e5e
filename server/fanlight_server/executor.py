"""The one place where searches wait and run: a bounded pool that takes equal searches together.

Laws: everything that compares vectors runs here. Searches that arrive while all threads are busy
wait by kind (same collection, same parameters, same shape of query), as long as `limits.queue_s`
allows; a free thread takes the longest-waiting kind and runs it as one search over the stacked
queries, and when a stack fails its members run alone. What nobody waits for any more is not
started. Work waits here, bounded, and nowhere else. A search that is likely to take less time than
handing it to a thread and back runs where it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from fanlight.admission import RETRY_MIN_S, Pace, Queue, work_of
from fanlight.errors import DeadlineExceeded, Overloaded
from fanlight.limits import Limits
from fanlight.model import Hits, Searcher, SearchRequest
from fanlight.stacking import Alone, effort_of, room_for, size_of, stacked, taken_apart

T = TypeVar("T")
Outcome: TypeAlias = Hits | Exception
# Work is given the seconds that remain; None for any number.
Work: TypeAlias = Callable[[float | None], T]

# What a search may take on the event loop. To hand it to a thread and back takes two wake-ups,
# 60 to 80 microseconds on 2 virtual cores, and a search of one query of 128 dimensions about 100.
_ON_LOOP_S = 0.002


@dataclass(slots=True, eq=False)
class _Waiting:
    """A search that waits for a thread.

    Attributes:
        deadline: in the event loop's time, or None.
        effort: what takes about as long, unit by unit: see `effort_of`; for other work its collection.
        units: how much it is; see `work_of`.
        seconds: what it is likely to take; 0 once it was given up.
        answer: resolved on the event loop; cancelled when the caller is gone.
        work: what is done in place of the search; None for the search itself.
        is_taken: whether a thread has it.
    """

    request: SearchRequest
    deadline: float | None
    effort: Hashable
    units: float
    seconds: float
    answer: asyncio.Future[Any]
    work: Work[Any] | None = None
    is_taken: bool = False

    def is_late(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now


class SearchExecutor:
    """Runs searches in threads for one event loop; used from that loop alone.

    Attributes:
        n_waiting: searches that wait for a thread.
    """

    def __init__(
        self,
        find: Callable[[str], Searcher],
        threads: int,
        limits: Limits,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the pool.

        Args:
            find: gives the searcher of a collection, or raises NotFound; called in threads.
            threads: searches (or stacks of them) that run at once.
            limits: what one search, hence one stack, may hold, and how many may wait.
            prepare: called in each thread, in the first one now.
        """
        self._find = find
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(threads, "search", prepare)
        self._pool.submit(lambda: None)  # which starts a thread
        self._idle = threads
        # By kind, in order of the longest waiting; no kind is empty.
        self._waiting: dict[Hashable, deque[_Waiting]] = {}
        self.n_waiting = 0
        self._pace = Pace()
        # By collection; apart, since it tells nothing of searches.
        self._pace_of_work = Pace()
        self._queue = Queue(limits.queue_s, threads)
        self._dispatch_is_due = False

    def submit(self, request: SearchRequest, timeout_s: float | None) -> asyncio.Future[Hits]:
        """Queue a search; cancel the future to give it up.

        Args:
            request: the search.
            timeout_s: seconds after which it is not started any more, or None.

        Returns:
            A future that fails with DeadlineExceeded or with what the searcher raises.

        Raises:
            Overloaded: too many searches wait, or it would wait too long.
        """
        effort, units = effort_of(request), work_of(request, size_of(request))
        seconds, answer = self._pace.seconds(effort, units), self._loop.create_future()
        waiting = _Waiting(request, self._end_of(timeout_s), effort, units, seconds, answer)
        # What `kind_of` gives, but worked out once.
        kind = effort if request.exclude is None else Alone()
        return self._enter(kind, waiting, timeout_s)

    def run(
        self, request: SearchRequest, work: Work[T], timeout_s: float | None
    ) -> asyncio.Future[T]:
        """Queue other work about a search: always alone, and in a thread; else as `submit`.

        Args:
            request: the search.
            work: called with the seconds that remain; it is likely to take as long as the last
                one on that collection.
            timeout_s: seconds after which it is not started any more, or None.
        """
        name, answer = request.collection, self._loop.create_future()
        seconds = self._pace_of_work.seconds(name, 1)
        waiting = _Waiting(request, self._end_of(timeout_s), name, 1, seconds, answer, work)
        return self._enter(Alone(), waiting, timeout_s)

    def _end_of(self, timeout_s: float | None) -> float | None:
        return None if timeout_s is None else self._loop.time() + timeout_s

    def _enter(
        self, kind: Hashable, waiting: _Waiting, timeout_s: float | None
    ) -> asyncio.Future[Any]:
        if self.n_waiting >= self._limits.in_flight:
            raise Overloaded(
                f"{self.n_waiting} searches wait, which is the limit (in_flight)",
                retry_after_s=RETRY_MIN_S,
            )
        if waiting.is_late(self._loop.time()) or (
            self._idle and not self._waiting and self._is_quick(waiting)
        ):
            _settle(self._outcomes([waiting]))
            return waiting.answer
        self._queue.enter(waiting.seconds, timeout_s)
        waiting.answer.add_done_callback(partial(self._on_done, waiting))
        self._waiting.setdefault(kind, deque()).append(waiting)
        self.n_waiting += 1
        if self._idle and not self._dispatch_is_due:
            # Not at once: the rest of the same message is about to be submitted.
            self._dispatch_is_due = True
            self._loop.call_soon(self._dispatch)
        return waiting.answer

    def close(self) -> None:
        """Wait for the searches that run; call it when no more are submitted."""
        self._pool.shutdown(wait=True)

    def _on_done(self, waiting: _Waiting, answer: asyncio.Future[Hits]) -> None:
        """Take what was given up out of the queue's time; its place goes with its turn."""
        if answer.cancelled() and not waiting.is_taken:
            self._queue.leave(waiting.seconds)
            waiting.seconds = 0.0

    def _dispatch(self) -> None:
        self._dispatch_is_due = False
        while self._idle and self._waiting:
            self._idle -= 1
            self._pool.submit(self._work, self._take())

    def _take(self) -> list[_Waiting]:
        """Take as many searches of the longest-waiting kind as one request may hold."""
        kind = next(iter(self._waiting))
        queue = self._waiting.pop(kind)
        taken = [queue.popleft()]
        room = room_for(taken[0].request, self._limits) - size_of(taken[0].request)
        while queue and size_of(queue[0].request) <= room:
            room -= size_of(queue[0].request)
            taken.append(queue.popleft())
        if queue:  # behind the other kinds, so that none of them starves
            self._waiting[kind] = queue
        self.n_waiting -= len(taken)
        self._queue.leave(sum(waiting.seconds for waiting in taken))
        for waiting in taken:
            waiting.is_taken = True
        return taken

    def _is_quick(self, waiting: _Waiting) -> bool:
        """Tell whether a search is likely to end soon and cannot wait for the disk."""
        request = waiting.request
        if request.ids is not None or request.with_payloads or request.with_vectors:
            return False
        return waiting.seconds < _ON_LOOP_S and self._pace.knows(waiting.effort)

    # --- in a thread of the pool, or on the loop ----------------------------------------------

    def _work(self, taken: Sequence[_Waiting]) -> None:
        self._loop.call_soon_threadsafe(self._finish, self._outcomes(taken))

    def _outcomes(self, taken: Sequence[_Waiting]) -> list[tuple[_Waiting, Any]]:
        started = self._loop.time()
        wanted = [waiting for waiting in taken if not waiting.answer.cancelled()]
        live = [waiting for waiting in wanted if not waiting.is_late(started)]
        late: list[tuple[_Waiting, Any]] = [
            (waiting, DeadlineExceeded("the deadline passed before the search could start"))
            for waiting in wanted
            if waiting.is_late(started)
        ]
        if not live:
            return late
        longest_s = _longest_s(live, started)
        if live[0].work is not None:  # and so alone
            outcomes: list[Any] = [_outcome_of(live[0].work, longest_s)]
        else:
            outcomes = [*_run_stack(self._find, [waiting.request for waiting in live], longest_s)]
        self._learn(live, self._loop.time() - started)
        return [*zip(live, outcomes, strict=True), *late]

    def _learn(self, done: Sequence[_Waiting], seconds: float) -> None:
        effort, units = done[0].effort, sum([waiting.units for waiting in done])
        if done[0].work is not None:
            self._pace_of_work.learn(effort, units, seconds)
        elif not isinstance(effort, Alone):
            self._pace.learn(effort, units, seconds)

    def _finish(self, answers: Sequence[tuple[_Waiting, Any]]) -> None:
        self._idle += 1
        _settle(answers)
        self._dispatch()


def _settle(answers: Sequence[tuple[_Waiting, Any]]) -> None:
    for waiting, outcome in answers:
        if waiting.answer.done():
            continue
        if isinstance(outcome, Exception):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)


def _longest_s(live: Sequence[_Waiting], now: float) -> float | None:
    """Tell for how long anybody waits for a stack; None: for any time."""
    deadlines = [waiting.deadline for waiting in live if waiting.deadline is not None]
    return max(deadlines) - now if len(deadlines) == len(live) else None


def _outcome_of(work: Work[Any], timeout_s: float | None) -> Any:
    """Do work; give what it returns or raises."""
    try:
        return work(timeout_s)
    except Exception as error:
        return error


def _run_stack(
    find: Callable[[str], Searcher], requests: Sequence[SearchRequest], timeout_s: float | None
) -> list[Outcome]:
    """Run searches of one kind as one search, or one by one if that fails."""
    try:
        searcher = find(requests[0].collection)
        if len(requests) == 1:
            return [searcher.search(requests[0], timeout_s=timeout_s)]
        sizes = [size_of(request) for request in requests]
        return [*taken_apart(searcher.search(stacked(requests), timeout_s=timeout_s), sizes)]
    except Exception as error:
        if len(requests) == 1:
            return [error]
    return [outcome for request in requests for outcome in _run_stack(find, [request], timeout_s)]
