"""The one place where searches wait and run: a bounded pool that takes equal searches together.

Laws: searches that arrive while all threads are busy wait by kind (same collection, same
parameters, same shape of query); a free thread takes the longest-waiting kind and runs it as
one search over the stacked queries. Nobody notices the company: each caller gets its own hits
and its own errors, and when a stack fails its members run alone. What nobody waits for any
more is not started. Work waits here, bounded, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np

from fanlight.errors import DeadlineExceeded, Overloaded
from fanlight.ids import joined
from fanlight.limits import Limits
from fanlight.model import Hits, Searcher, SearchRequest

# Queries of one stack. More gain nothing by sharing a call, and everyone in a stack waits for
# its slowest query.
STACK_QUERIES = 256

Outcome: TypeAlias = Hits | Exception


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A search that waits for a thread.

    Attributes:
        deadline: in the event loop's time, or None.
        answer: resolved on the event loop; cancelled when the caller is gone.
    """

    request: SearchRequest
    deadline: float | None
    answer: asyncio.Future[Hits]

    def is_late(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now


class SearchExecutor:
    """Runs searches in threads for one event loop; used from that loop alone.

    Attributes:
        n_waiting: searches that wait for a thread.
    """

    def __init__(self, find: Callable[[str], Searcher], threads: int, limits: Limits) -> None:
        """Make the pool.

        Args:
            find: gives the searcher of a collection, or raises NotFound; called in threads.
            threads: searches (or stacks of them) that run at once.
            limits: what one search, hence one stack, may hold, and how many may wait.
        """
        self._find = find
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._idle = threads
        # By kind, in order of the longest waiting; no kind is empty.
        self._waiting: dict[Hashable, deque[_Waiting]] = {}
        self.n_waiting = 0
        self._dispatch_is_due = False

    def submit(self, request: SearchRequest, timeout_s: float | None) -> asyncio.Future[Hits]:
        """Queue a search; cancel the future to give it up.

        Args:
            request: the search.
            timeout_s: seconds after which it is not started any more, or None.

        Returns:
            A future that fails with DeadlineExceeded or with what the searcher raises.

        Raises:
            Overloaded: too many searches wait.
        """
        if self.n_waiting >= self._limits.in_flight:
            raise Overloaded(
                f"{self.n_waiting} searches wait, which is the limit (in_flight)",
                retry_after_s=0.05,
            )
        deadline = None if timeout_s is None else self._loop.time() + timeout_s
        waiting = _Waiting(request, deadline, self._loop.create_future())
        self._waiting.setdefault(_kind(request), deque()).append(waiting)
        self.n_waiting += 1
        if self._idle and not self._dispatch_is_due:
            # Not at once: the rest of the same message is about to be submitted.
            self._dispatch_is_due = True
            self._loop.call_soon(self._dispatch)
        return waiting.answer

    def close(self) -> None:
        """Wait for the searches that run; call it when no more are submitted."""
        self._pool.shutdown(wait=True)

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
        room = min(STACK_QUERIES, self._limits.hits // max(1, taken[0].request.k))
        room = min(room, self._limits.batch_rows) - _size(taken[0].request)
        while queue and _size(queue[0].request) <= room:
            room -= _size(queue[0].request)
            taken.append(queue.popleft())
        if queue:  # behind the other kinds, so that none of them starves
            self._waiting[kind] = queue
        self.n_waiting -= len(taken)
        return taken

    # --- in a thread of the pool --------------------------------------------------------------

    def _work(self, taken: Sequence[_Waiting]) -> None:
        now = self._loop.time()
        wanted = [waiting for waiting in taken if not waiting.answer.cancelled()]
        live = [waiting for waiting in wanted if not waiting.is_late(now)]
        outcomes = _run_stack(self._find, [waiting.request for waiting in live]) if live else []
        late: list[tuple[_Waiting, Outcome]] = [
            (waiting, DeadlineExceeded("the deadline passed before the search could start"))
            for waiting in wanted
            if waiting.is_late(now)
        ]
        answers = [*zip(live, outcomes, strict=True), *late]
        self._loop.call_soon_threadsafe(self._finish, answers)

    def _finish(self, answers: Sequence[tuple[_Waiting, Outcome]]) -> None:
        self._idle += 1
        for waiting, outcome in answers:
            if waiting.answer.done():
                continue
            if isinstance(outcome, Exception):
                waiting.answer.set_exception(outcome)
            else:
                waiting.answer.set_result(outcome)
        self._dispatch()


def _size(request: SearchRequest) -> int:
    queries = request.vectors if request.vectors is not None else request.ids
    return 0 if queries is None else len(queries)


def _kind(request: SearchRequest) -> Hashable:
    """Tell which searches can be stacked: those that differ in their queries alone."""
    queries: object = None
    if request.vectors is not None:
        queries = request.vectors.shape[1]
    elif request.ids is not None:
        queries = request.ids.dtype
    return (
        request.collection,
        queries,
        _size(request) > 0,  # no queries at all is an error that a stack would hide
        request.k,
        request.ef_search,
        request.exact,
        request.score_threshold,
        request.with_payloads,
        request.with_vectors,
        request.min_coverage,
    )


def _run_stack(find: Callable[[str], Searcher], requests: Sequence[SearchRequest]) -> list[Outcome]:
    """Run searches of one kind as one search, or one by one if that fails."""
    try:
        searcher = find(requests[0].collection)
        if len(requests) == 1:
            return [searcher.search(requests[0])]
        sizes = [_size(request) for request in requests]
        return [*_split(searcher.search(_stacked(requests)), sizes)]
    except Exception as error:
        if len(requests) == 1:
            return [error]
    return [outcome for request in requests for outcome in _run_stack(find, [request])]


def _stacked(requests: Sequence[SearchRequest]) -> SearchRequest:
    first = requests[0]
    if first.vectors is not None:
        vectors = [request.vectors for request in requests if request.vectors is not None]
        return replace(first, vectors=np.concatenate(vectors))
    ids = [request.ids for request in requests if request.ids is not None]
    return replace(first, ids=joined(ids))


def _split(hits: Hits, sizes: Sequence[int]) -> list[Hits]:
    """Cut the hits of a stack into those of its members."""
    bounds = [0, *accumulate(sizes)]
    blob_bounds = np.concatenate(([0], np.cumsum(hits.counts)))[bounds].tolist()
    blobs, vectors = hits.payload_blobs, hits.vectors
    return [
        Hits(
            ids=hits.ids[a:b],
            scores=hits.scores[a:b],
            counts=hits.counts[a:b],
            coverage=hits.coverage,
            errors={row - a: e for row, e in hits.errors.items() if a <= row < b},
            payload_blobs=None if blobs is None else blobs[first:last],
            vectors=None if vectors is None else vectors[a:b],
        )
        for (a, b), (first, last) in zip(pairwise(bounds), pairwise(blob_bounds), strict=True)
    ]
