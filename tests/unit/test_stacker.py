"""Searches of one event loop: those that arrive while others are under way share a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from fanlight.errors import FanlightError, InvalidRequest, NotReady, Overloaded, PartialResult
from fanlight.limits import Limits
from fanlight.model import Coverage, Hits, SearchRequest
from fanlight.stacking import ClientBounds
from fanlight.wire.stacker import Stacker

WaitUntil = Callable[..., Awaitable[None]]
# Longer than any test takes.
LONG_S = 30.0


class Echo:
    """Answers a query with its first element as the only id, when the gate is open.

    A query of -1 fails alone, a request that holds a -2 is refused whole.

    Attributes:
        requests: what was asked for, with the seconds that its callers wait.
        broken: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.requests: list[tuple[SearchRequest, float | None]] = []
        self.broken: FanlightError | None = None
        self.cancelled = 0

    @property
    def sizes(self) -> list[int]:
        return [len(r.vectors) for r, _ in self.requests if r.vectors is not None]

    async def search(self, request: SearchRequest, timeout_s: float | None) -> Hits:
        self.requests.append((request, timeout_s))
        assert request.vectors is not None
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.broken is not None:
            raise self.broken
        values = request.vectors[:, 0].astype(np.int64)
        if -2 in values:
            raise InvalidRequest("a query of -2")
        errors: dict[int, FanlightError] = {
            row: InvalidRequest("a query of -1") for row in np.flatnonzero(values == -1).tolist()
        }
        ids, counts = values[:, None], np.where(values == -1, 0, 1)
        return Hits(ids, ids.astype(np.float32), counts, Coverage(1, 1, 1, 1), errors)


def query(*values: int, k: int = 1) -> SearchRequest:
    return SearchRequest("c", np.array(values, dtype=np.float32)[:, None], k)


def stacker(echo: Echo, limits: Limits | None = None) -> Stacker:
    return Stacker(echo.search, limits or Limits())


async def begun(subject: Stacker, echo: Echo, wait: WaitUntil) -> list[asyncio.Future[Hits]]:
    """Bring two calls under way."""
    first = [subject.submit(query(101), None)]
    await wait(lambda: echo.sizes == [1])
    first.append(subject.submit(query(102), None))
    await wait(lambda: echo.sizes == [1, 1])
    return first


async def test_a_lonely_search_leaves_at_once() -> None:
    """Nobody is waited for, however long searches are collected, and its caller's time is told."""
    echo = Echo()
    echo.gate.set()
    hits = await Stacker(echo.search, Limits(), collect_s=LONG_S).submit(query(7), 1.5)
    assert hits.ids.tolist() == [[7]]
    assert [timeout for _, timeout in echo.requests] == [pytest.approx(1.5, abs=0.1)]


@pytest.mark.parametrize("callers", [2, 5, 30])
async def test_callers_who_wait_become_one_group(callers: int, wait_until_async: WaitUntil) -> None:
    """The first leaves alone; once there are answers, all who ask again at once travel together."""
    echo = Echo()
    subject = Stacker(echo.search, Limits(), collect_s=LONG_S)

    async def ask(number: int) -> None:
        for _ in range(20):
            assert (await subject.submit(query(number), LONG_S)).ids.tolist() == [[number]]

    async with asyncio.TaskGroup() as asking:
        asking.create_task(ask(0))
        await wait_until_async(lambda: echo.sizes == [1])
        for number in range(1, callers):
            asking.create_task(ask(number))
        await wait_until_async(lambda: subject.under_way == callers)
        echo.gate.set()
    assert echo.sizes == [1, *[callers] * 19, callers - 1]


async def test_those_who_wait_leave_together(wait_until_async: WaitUntil) -> None:
    """Searches that came while calls were under way are one call, and each gets its own hits."""
    echo = Echo()
    subject = stacker(echo)
    first = await begun(subject, echo, wait_until_async)
    asked = [subject.submit(query(i, i + 1), float(i + 1)) for i in range(20)]
    await wait_until_async(lambda: echo.sizes == [1, 1, 40])
    assert echo.requests[2][1] == pytest.approx(20.0, abs=1.0), "the longest time of all counts"
    echo.gate.set()
    assert [hits.ids.tolist() for hits in await asyncio.gather(*asked)] == [
        [[i], [i + 1]] for i in range(20)
    ]
    assert [hits.ids.tolist() for hits in await asyncio.gather(*first)] == [[[101]], [[102]]]
    assert subject.under_way == 0


async def test_kinds_and_large_searches_travel_alone(wait_until_async: WaitUntil) -> None:
    """A search with another k, or of many queries, is not put together with others."""
    echo = Echo()
    subject = stacker(echo)
    await begun(subject, echo, wait_until_async)
    asked = [subject.submit(query(1, k=2), None), subject.submit(query(*range(64)), None)]
    await wait_until_async(lambda: echo.sizes == [1, 1, 64, 1])
    echo.gate.set()
    await asyncio.gather(*asked)


async def test_a_query_that_fails_fails_alone(wait_until_async: WaitUntil) -> None:
    """The error of a query goes to its caller, as the row that it is there."""
    echo = Echo()
    subject = stacker(echo)
    await begun(subject, echo, wait_until_async)
    asked = [subject.submit(query(1, 2), None), subject.submit(query(3, -1), None)]
    echo.gate.set()
    good, bad = await asyncio.gather(*asked)
    assert not good.errors
    assert list(bad.errors) == [1]


async def test_a_request_that_is_refused_is_asked_alone(wait_until_async: WaitUntil) -> None:
    """What one caller's queries bring upon a call is told to that caller alone."""
    echo = Echo()
    subject = stacker(echo)
    await begun(subject, echo, wait_until_async)
    good, bad = subject.submit(query(1), None), subject.submit(query(-2), None)
    echo.gate.set()
    assert (await good).ids.tolist() == [[1]]
    with pytest.raises(InvalidRequest):
        await bad
    assert echo.sizes == [1, 1, 2, 1, 1]


@pytest.mark.parametrize("error", [NotReady("gone"), PartialResult("1 of 2")])
async def test_a_fault_of_the_cluster_is_everybodys(
    error: FanlightError, wait_until_async: WaitUntil
) -> None:
    """When shards are gone all are told, and nobody asks them again."""
    echo = Echo()
    subject = stacker(echo)
    await begun(subject, echo, wait_until_async)
    asked = [subject.submit(query(i), None) for i in range(3)]
    echo.broken = error
    echo.gate.set()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in told] == [type(error)] * 3
    assert echo.sizes == [1, 1, 3]


async def test_what_nobody_waits_for_is_not_sent(wait_until_async: WaitUntil) -> None:
    """A search whose caller has gone meanwhile is left out."""
    echo = Echo()
    subject = stacker(echo)
    await begun(subject, echo, wait_until_async)
    asked = [subject.submit(query(i), None) for i in range(3)]
    asked[1].cancel()
    await wait_until_async(lambda: echo.sizes == [1, 1, 2])
    echo.gate.set()
    assert [(await asked[i]).ids.tolist() for i in (0, 2)] == [[[0]], [[2]]]


async def test_too_many_searches_are_refused(wait_until_async: WaitUntil) -> None:
    """Past the limit a search is refused at once, with a time to come again."""
    echo = Echo()
    subject = stacker(echo, Limits(in_flight=3))
    first = await begun(subject, echo, wait_until_async)
    last = subject.submit(query(1), None)
    with pytest.raises(Overloaded, match="in_flight") as caught:
        subject.submit(query(2), None)
    assert caught.value.retry_after_s
    echo.gate.set()
    await asyncio.gather(*first, last)
    assert (await subject.submit(query(3), None)).ids.tolist() == [[3]]


async def test_closing_gives_everything_up(wait_until_async: WaitUntil) -> None:
    """Calls under way are cancelled, and nobody is left waiting."""
    echo = Echo()
    subject = stacker(echo)
    first = await begun(subject, echo, wait_until_async)
    last = subject.submit(query(1), None)
    subject.close()
    told = await asyncio.gather(*first, last, return_exceptions=True)
    assert all(isinstance(outcome, (NotReady, asyncio.CancelledError)) for outcome in told)
    assert echo.cancelled == 2


def test_clients_are_bounded_as_servers_are() -> None:
    """What a client puts together is what servers take by default."""
    bounds, limits = ClientBounds(), Limits()
    assert (bounds.batch_rows, bounds.hits) == (limits.batch_rows, limits.hits)
    assert bounds.in_flight == limits.in_flight
