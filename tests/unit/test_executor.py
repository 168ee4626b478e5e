"""The search executor: equal searches run together, and nobody notices."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from fanlight.conditions import as_filter
from fanlight.errors import (
    DeadlineExceeded,
    FanlightError,
    InvalidRequest,
    NotFound,
    Overloaded,
)
from fanlight.filters import Exists
from fanlight.limits import Limits
from fanlight.model import Coverage, Hits, SearchRequest
from fanlight.queries import Exclusions
from fanlight.stacking import STACK_QUERIES
from fanlight_server.executor import SearchExecutor
from fanlight_server.index.settings import SearchConfig

DIM = 2
FAR_S = 1_000.0


@dataclass
class Echo:
    """A searcher whose hits tell the query: ids are its first element times 1, 2, 3 ...

    Queries of -1 fail alone; a request that holds a -2 fails whole; so does a wrong dimension.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    requests: list[SearchRequest] = field(default_factory=list)

    def search(self, request: SearchRequest, *, timeout_s: float | None = None) -> Hits:
        self.requests.append(request)
        assert self.gate.wait(30)
        values = firsts(request)
        if request.vectors is not None and request.vectors.shape[1] != DIM:
            raise InvalidRequest("vectors: wrong dimension")
        if -2 in values:
            raise RuntimeError("a bug that one query sets off")
        n, k = len(values), request.k
        if not 0 < n <= 100_000:
            raise InvalidRequest("queries: none")
        ids = np.outer(values, np.arange(1, k + 1)).astype(np.int64)
        counts = np.full(n, k)
        counts[values == -1] = 0
        errors: dict[int, FanlightError] = {
            row: InvalidRequest(f"bad in row {row}")
            for row in np.flatnonzero(values == -1).tolist()
        }
        payloads = [str(value).encode() for value in ids[counts > 0].ravel().tolist()]
        return Hits(
            ids,
            ids.astype(np.float32),
            counts,
            Coverage(1, 1, 5, 5),
            errors,
            payload_blobs=payloads if request.with_payloads else None,
            vectors=ids[:, :, None].astype(np.float32) if request.with_vectors else None,
        )

    @property
    def sizes(self) -> list[int]:
        """Tell how many queries each request had."""
        return [len(firsts(request)) for request in self.requests]


def firsts(request: SearchRequest) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Read the first element of each query."""
    if request.vectors is not None:
        return request.vectors[:, 0].astype(np.int64)
    assert request.ids is not None
    return request.ids.astype(np.int64)


def query(*values: int, dim: int = DIM, k: int = 2, **parameters: object) -> SearchRequest:
    """Make a request with a query for each value."""
    column = np.array(values, dtype=np.float32).reshape(-1, 1)
    vectors = np.repeat(column, dim, axis=1)
    return SearchRequest("c", vectors, k, **parameters)  # type: ignore[arg-type]  # by name


@asynccontextmanager
async def executing(
    echo: Echo, threads: int = 1, limits: Limits | None = None
) -> AsyncIterator[SearchExecutor]:
    """Make an executor over one collection, "c"."""

    def find(name: str) -> Echo:
        if name != "c":
            raise NotFound("collection")
        return echo

    executor = SearchExecutor(find, threads, limits or Limits())
    try:
        yield executor
    finally:
        echo.gate.set()
        await asyncio.to_thread(executor.close)


@asynccontextmanager
async def busy(
    wait_until_async: Callable[..., Awaitable[None]], limits: Limits | None = None
) -> AsyncIterator[tuple[Echo, SearchExecutor]]:
    """Make an executor whose only thread is busy until the gate of the echo opens."""
    echo = Echo()
    async with executing(echo, limits=limits) as executor:
        first = executor.submit(query(0), None)
        await wait_until_async(lambda: echo.requests)
        yield echo, executor
        echo.gate.set()
        await first


async def test_waiting_searches_of_one_kind_run_as_one(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Searches that came while the thread was busy run together; each gets its own hits."""
    async with busy(wait_until_async) as (echo, executor):
        parts = [(1,), (2, 3), (4,), (5, 6, 7)]
        answers = [
            executor.submit(query(*part, with_payloads=True, with_vectors=True), FAR_S)
            for part in parts
        ]
        echo.gate.set()
        for part, hits in zip(parts, await asyncio.gather(*answers), strict=True):
            expected = [[value, 2 * value] for value in part]
            assert hits.ids.tolist() == hits.scores.tolist() == expected
            assert hits.counts.tolist() == [2] * len(part)
            assert hits.vectors is not None
            assert hits.vectors[:, :, 0].tolist() == expected
            assert hits.payload_blobs == [str(v).encode() for row in expected for v in row]
    assert echo.sizes == [1, 7]


async def test_searches_by_id_run_as_one(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Queries by id are stacked among themselves, and not with queries by vector."""
    async with busy(wait_until_async) as (echo, executor):
        by_id = [SearchRequest("c", None, 2, ids=np.array([i])) for i in (3, 4)]
        answers = [executor.submit(request, None) for request in (*by_id, query(5))]
        echo.gate.set()
        first, second, third = await asyncio.gather(*answers)
    assert [hits.ids[0, 0] for hits in (first, second, third)] == [3, 4, 5]
    assert echo.sizes == [1, 2, 1]


@pytest.mark.parametrize(
    "other",
    [
        query(2, k=3),
        query(2, ef_search=50),
        query(2, exact=True),
        query(2, score_threshold=0.5),
        query(2, with_payloads=True),
        query(2, with_vectors=True),
        query(2, min_coverage=0.5),
        query(2, filter=Exists("year")),
    ],
    ids=[
        "k", "ef_search", "exact", "score_threshold", "payloads", "vectors", "min_coverage", "filter",
    ],
)  # fmt: skip
async def test_searches_that_differ_run_apart(
    wait_until_async: Callable[..., Awaitable[None]], other: SearchRequest
) -> None:
    """A search with another parameter is never answered with somebody else's."""
    async with busy(wait_until_async) as (echo, executor):
        answers = [executor.submit(request, None) for request in (query(1), other, query(3))]
        echo.gate.set()
        hits = await asyncio.gather(*answers)
    assert [h.ids[0, 0] for h in hits] == [1, 2, 3]
    assert hits[1].ids.shape[1] == other.k
    assert sorted(echo.sizes) == [1, 1, 2]


async def test_searches_with_equal_filters_run_as_one(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Filters are values: two that say the same are one kind, but 1 and True are not the same."""
    filters = [as_filter({"new": value}) for value in (1, np.int64(1), True, 1.0)]
    async with busy(wait_until_async) as (echo, executor):
        requests = [query(number, filter=filter) for number, filter in enumerate(filters, 1)]
        answers = [executor.submit(request, None) for request in requests]
        echo.gate.set()
        hits = await asyncio.gather(*answers)
    assert [h.ids[0, 0] for h in hits] == [1, 2, 3, 4]
    assert sorted(echo.sizes) == [1, 1, 1, 2]


async def test_errors_of_queries_stay_with_their_callers(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """A failed query is reported to its caller, at the row that the caller knows."""
    async with busy(wait_until_async) as (echo, executor):
        answers = [executor.submit(query(*part), None) for part in [(1, 2), (3, -1), (4,), (-1,)]]
        echo.gate.set()
        hits = await asyncio.gather(*answers)
    assert [list(h.errors) for h in hits] == [[], [1], [], [0]]
    assert hits[1].counts.tolist() == [2, 0]
    assert hits[2].ids.tolist() == [[4, 8]]


async def test_a_search_that_fails_whole_hurts_nobody_else(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """When a stack fails, its members run alone, and only the culprit fails."""
    async with busy(wait_until_async) as (echo, executor):
        answers = [executor.submit(query(value), None) for value in (1, -2, 3)]
        wrong = executor.submit(query(9, dim=DIM + 1), None)
        missing = executor.submit(SearchRequest("nobody", query(1).vectors, 2), None)
        echo.gate.set()
        first, bug, third = await asyncio.gather(*answers, return_exceptions=True)
        assert isinstance(first, Hits)
        assert isinstance(third, Hits)
        assert isinstance(bug, RuntimeError)
        assert (first.ids[0, 0], third.ids[0, 0]) == (1, 3)
        with pytest.raises(InvalidRequest):
            await wrong
        with pytest.raises(NotFound):
            await missing


async def test_no_company_hides_a_search_for_nothing(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """A request without queries fails as it would alone."""
    async with busy(wait_until_async) as (echo, executor):
        before, nothing, after = (executor.submit(q, None) for q in (query(1), query(), query(2)))
        echo.gate.set()
        with pytest.raises(InvalidRequest):
            await nothing
        assert [(await answer).ids[0, 0] for answer in (before, after)] == [1, 2]


async def test_a_stack_is_bounded(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """No stack asks for more hits than one request may; a larger request goes alone."""
    async with busy(wait_until_async, Limits(hits=100)) as (echo, executor):
        many = [executor.submit(query(*range(20)), None) for _ in range(5)]
        wide = [executor.submit(query(1, k=30), None) for _ in range(4)]
        alone = executor.submit(query(*range(400)), None)
        echo.gate.set()
        await asyncio.gather(*many, *wide, alone)
    by_k = {
        k: sorted(len(firsts(request)) for request in echo.requests if request.k == k)
        for k in (2, 30)
    }
    assert by_k == {2: [1, 20, 40, 40, 400], 30: [1, 3]}


async def test_no_kind_starves_another(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """A kind too large for one stack queues up again behind the others."""
    async with busy(wait_until_async) as (echo, executor):
        many = [executor.submit(query(1), None) for _ in range(STACK_QUERIES + 1)]
        other = executor.submit(query(1, k=9), None)
        echo.gate.set()
        await asyncio.gather(*many, other)
    assert [(request.k, len(firsts(request))) for request in echo.requests] == [
        (2, 1),
        (2, STACK_QUERIES),
        (9, 1),
        (2, 1),
    ]


async def test_what_is_late_or_unwanted_is_not_started(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """A search whose time is over fails with DeadlineExceeded; a cancelled one just goes."""
    async with busy(wait_until_async) as (echo, executor):
        late = executor.submit(query(7), 0.0)
        unwanted = executor.submit(query(8), None)
        wanted = executor.submit(query(9), FAR_S)
        unwanted.cancel()
        echo.gate.set()
        assert (await wanted).ids[0, 0] == 9
        with pytest.raises(DeadlineExceeded):
            await late
    assert [firsts(request).tolist() for request in echo.requests] == [[0], [9]]


async def test_a_search_cancelled_while_it_runs_harms_nothing(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Giving up a search that has begun leaves the executor able to run the next."""
    async with busy(wait_until_async) as (echo, executor):
        unwanted = executor.submit(query(1), None)
        wanted = executor.submit(query(2), None)
        echo.gate.set()
        await wait_until_async(lambda: executor.n_waiting == 0)
        unwanted.cancel()
        assert (await wanted).ids[0, 0] == 2
        assert (await executor.submit(query(3), None)).ids[0, 0] == 3


async def test_too_many_waiting_searches_are_refused(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Past the limit a search is refused at once, with a time to try again."""
    async with busy(wait_until_async, Limits(in_flight=2)) as (echo, executor):
        answers = [executor.submit(query(1), None) for _ in range(2)]
        with pytest.raises(Overloaded) as refused:
            executor.submit(query(1), None)
        assert refused.value.retry_after_s is not None
        echo.gate.set()
        await asyncio.gather(*answers)
        await executor.submit(query(1), None)


async def test_free_threads_work_side_by_side(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Searches of different kinds run at once when there are threads for them."""
    echo = Echo()
    async with executing(echo, threads=2) as executor:
        answers = [executor.submit(query(1, k=k), None) for k in (1, 2, 3)]
        await wait_until_async(lambda: len(echo.requests) == 2)
        assert executor.n_waiting == 1
        echo.gate.set()
        await asyncio.gather(*answers)


async def test_other_work_is_queued_as_searches_are(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """It has a thread of the pool, the time of its caller, and its own answer or error."""
    given: list[float | None] = []

    def work(timeout_s: float | None) -> str:
        given.append(timeout_s)
        return threading.current_thread().name

    def fail(timeout_s: float | None) -> str:
        raise NotFound("item")

    async with busy(wait_until_async) as (echo, executor):
        timed, timeless = executor.run(query(1), work, FAR_S), executor.run(query(1), work, None)
        failing = executor.run(query(1), fail, None)
        search = executor.submit(query(5), None)
        assert (executor.n_waiting, given) == (4, [])
        echo.gate.set()
        assert (await timed).startswith("search")
        assert (await timeless).startswith("search")
        with pytest.raises(NotFound):
            await failing
        assert (await search).ids[0, 0] == 5
    assert given[0] is not None
    assert 0 < given[0] <= FAR_S
    assert given[1] is None


async def test_other_work_that_is_late_or_unwanted_or_too_much_is_not_started(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """The bounds of the queue are one for searches and for all other work."""
    done: list[str] = []

    def work(name: str) -> Callable[[float | None], None]:
        return lambda timeout_s: done.append(name)

    async with busy(wait_until_async, Limits(in_flight=3)) as (echo, executor):
        late = executor.run(query(1), work("late"), 0.0)
        unwanted = executor.run(query(1), work("unwanted"), None)
        wanted = executor.run(query(1), work("wanted"), None)
        search = executor.submit(query(3), None)
        for much in (
            lambda: executor.run(query(1), work("much"), None),
            lambda: executor.submit(query(1), None),
        ):
            with pytest.raises(Overloaded, match="in_flight"):
                await much()
        unwanted.cancel()
        echo.gate.set()
        await wanted
        with pytest.raises(DeadlineExceeded):
            await late
        await search
    assert done == ["wanted"]


async def test_other_work_counts_by_what_it_took(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """Behind work that took long a caller in a hurry is told at once to come back."""
    started, end = threading.Event(), threading.Event()

    def long(timeout_s: float | None) -> None:
        started.set()
        assert end.wait(30)

    echo = Echo()
    echo.gate.set()
    async with executing(echo) as executor:
        first = executor.run(query(1), long, None)
        assert await asyncio.to_thread(started.wait, 30)
        enough = asyncio.get_running_loop().time() + 0.2  # what it takes at the least
        await wait_until_async(lambda: asyncio.get_running_loop().time() > enough)
        end.set()
        await first
        started.clear()
        end.clear()
        running = executor.run(query(1), long, None)
        assert await asyncio.to_thread(started.wait, 30)
        waiting = executor.run(query(1), long, None)
        with pytest.raises(Overloaded, match="timeout"):
            executor.submit(query(1), 0.1)
        end.set()
        await asyncio.gather(running, waiting)


EXCLUDED = np.arange(2_000)


@pytest.mark.parametrize(
    "exclude",
    [None, Exclusions(np.arange(3)), Exclusions.of(EXCLUDED), Exclusions(EXCLUDED[::-1])],
    ids=["none", "few", "packed", "as they are"],
)
async def test_quick_searches_are_answered_at_once(
    exclude: Exclusions | None, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """Once one like it was quick, a search needs no thread, whatever ids it excludes."""
    echo = Echo()
    echo.gate.set()
    async with executing(echo) as executor:
        first = executor.submit(query(1, exclude=exclude), None)
        assert not first.done()
        await first
        await wait_until_async(lambda: executor.submit(query(2, exclude=exclude), None).done())


async def test_searches_that_may_read_the_disk_have_a_thread(
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """However quick the last ones were: members of a set may have to be read."""
    echo = Echo()
    echo.gate.set()
    async with executing(echo) as executor:
        await wait_until_async(lambda: executor.submit(query(1), None).done())
        for _ in range(20):
            answer = executor.submit(query(1, exclude=Exclusions(None, ("seen",))), None)
            assert not answer.done()
            assert (await answer).ids[0, 0] == 1


def test_a_machine_with_many_cores_gets_as_many_threads_as_the_kernel_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 384)
    assert SearchConfig().worker_threads == 256
    assert SearchConfig(threads=3).worker_threads == 3
