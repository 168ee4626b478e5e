"""Searches of threads: those that wait at the same moment share a call, and nobody notices."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from fanlight.company import Company
from fanlight.errors import DeadlineExceeded, InvalidRequest, NotReady
from fanlight.limits import Limits
from fanlight.model import Coverage, Hits, SearchRequest

WAIT_S = 30.0
WaitUntil = Callable[..., None]


@dataclass
class Echo:
    """Answers a query with its first element as the only id, when the gate is open.

    A request that holds a -1 is refused whole; while `broken` is set, every request fails.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    sizes: list[int] = field(default_factory=list)
    broken: BaseException | None = None

    def search(self, request: SearchRequest, timeout_s: float) -> Hits:
        assert request.vectors is not None
        values = request.vectors[:, 0].astype(np.int64)
        self.sizes.append(len(values))
        assert self.gate.wait(WAIT_S)
        if self.broken is not None:
            raise self.broken
        if -1 in values:
            raise InvalidRequest("a query of -1")
        ids = values[:, None]
        counts = np.ones(len(values), dtype=np.int64)
        return Hits(ids, ids.astype(np.float32), counts, Coverage(1, 1, 1, 1))


def query(*values: int, k: int = 1) -> SearchRequest:
    return SearchRequest("c", np.array(values, dtype=np.float32)[:, None], k)


@dataclass
class Waiting:
    """A call under way that the gate holds, and any number of searches that wait."""

    echo: Echo
    company: Company
    pool: ThreadPoolExecutor
    first: Future[Hits]

    def ask(self, request: SearchRequest, timeout_s: float = WAIT_S) -> Future[Hits]:
        return self.pool.submit(self.company.search, request, timeout_s)

    @property
    def n_waiting(self) -> int:
        return sum(len(kind.waiting) for kind in self.company._kinds.values())


@pytest.fixture
def waiting(wait_until: WaitUntil) -> Iterator[Waiting]:
    """Hold a call under way."""
    echo = Echo()
    company = Company(echo.search, Limits(), collect_s=WAIT_S)
    with ThreadPoolExecutor(40) as pool:
        first = pool.submit(company.search, query(101), WAIT_S)
        wait_until(lambda: len(echo.sizes) == 1)
        try:
            yield Waiting(echo, company, pool, first)
        finally:
            echo.gate.set()


def values(futures: list[Future[Hits]]) -> list[object]:
    return [future.result(WAIT_S).ids.tolist() for future in futures]


def test_those_who_wait_leave_together(waiting: Waiting, wait_until: WaitUntil) -> None:
    """Thirty searches that came while one was under way are one call; each gets its own."""
    asked = [waiting.ask(query(i, i + 1)) for i in range(30)]
    wait_until(lambda: waiting.n_waiting == 30)
    waiting.echo.gate.set()
    assert values(asked) == [[[i], [i + 1]] for i in range(30)]
    assert values([waiting.first]) == [[[101]]]
    assert waiting.echo.sizes == [1, 60]
    assert not waiting.company._kinds


def test_other_kinds_do_not_wait(waiting: Waiting, wait_until: WaitUntil) -> None:
    """A search with another k leaves at once, whatever is under way."""
    other = waiting.ask(query(5, k=2))
    wait_until(lambda: len(waiting.echo.sizes) == 2)
    waiting.echo.gate.set()
    assert values([other]) == [[[5]]]


def test_a_fault_of_one_is_not_that_of_the_others(waiting: Waiting, wait_until: WaitUntil) -> None:
    """A query that has the whole request refused fails alone."""
    good, bad = [waiting.ask(query(i)) for i in range(3)], waiting.ask(query(-1))
    wait_until(lambda: waiting.n_waiting == 4)
    waiting.echo.gate.set()
    assert values(good) == [[[i]] for i in range(3)]
    with pytest.raises(InvalidRequest):
        bad.result(WAIT_S)


def test_a_fault_of_the_server_is_everybodys(waiting: Waiting, wait_until: WaitUntil) -> None:
    """When the router cannot be reached, all are told, after one call."""
    asked = [waiting.ask(query(i)) for i in range(3)]
    wait_until(lambda: waiting.n_waiting == 3)
    waiting.echo.broken = NotReady("gone")
    waiting.echo.gate.set()
    for future in asked:
        with pytest.raises(NotReady):
            future.result(WAIT_S)
    assert waiting.echo.sizes == [1, 3]


def test_a_slow_call_holds_nobody_up_for_long(wait_until: WaitUntil) -> None:
    """Those who wait leave together after a time, whether or not a call has returned."""
    echo = Echo()
    company = Company(echo.search, Limits(), collect_s=0.05)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(company.search, query(0), WAIT_S)]
        wait_until(lambda: echo.sizes == [1])
        asked += [pool.submit(company.search, query(i), WAIT_S) for i in (1, 2, 3)]
        wait_until(lambda: sum(echo.sizes) == 4)
        echo.gate.set()
        assert values(asked) == [[[i]] for i in range(4)]
    assert not company._kinds


def test_a_search_waits_no_longer_than_its_deadline(waiting: Waiting) -> None:
    """Whoever waits too long is told, and is not searched for any more."""
    with pytest.raises(DeadlineExceeded):
        waiting.company.search(query(7), 0.01)
    assert waiting.n_waiting == 0
    waiting.echo.gate.set()
    assert values([waiting.first]) == [[[101]]]
    assert waiting.echo.sizes == [1]


def test_an_interrupted_thread_leaves_the_others_alone(
    waiting: Waiting, wait_until: WaitUntil
) -> None:
    """What ends the thread that carries the searches does not end theirs."""
    asked = [waiting.ask(query(i)) for i in range(3)]
    wait_until(lambda: waiting.n_waiting == 3)
    carried: list[int] = []

    def search(request: SearchRequest, timeout_s: float) -> Hits:
        carried.append(len(request.vectors if request.vectors is not None else ()))
        if carried == [3]:
            raise KeyboardInterrupt
        return waiting.echo.search(request, timeout_s)

    waiting.company._run = search
    waiting.echo.gate.set()
    outcomes = [future.exception(WAIT_S) for future in asked]
    assert [type(outcome) for outcome in outcomes].count(KeyboardInterrupt) == 1
    assert outcomes.count(None) == 2


def test_many_threads_get_their_own() -> None:
    """Sixteen threads ask as fast as they can; every answer is that of its query."""
    echo = Echo()
    echo.gate.set()
    company = Company(echo.search, Limits())

    def ask(first: int) -> bool:
        return all(
            company.search(query(i), WAIT_S).ids.tolist() == [[i]]
            for i in range(first, first + 200)
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(0, 16_000, 1_000)))
    assert sum(echo.sizes) == 16 * 200


def test_a_thread_that_is_stopped_while_it_waits_passes_its_turn_on(
    waiting: Waiting, wait_until: WaitUntil
) -> None:
    """The others of its kind are answered when what was to carry them ends before it does."""
    stopped: list[int] = []

    def ask() -> Hits:
        stopped.append(threading.get_ident())
        return waiting.company.search(query(1), WAIT_S)

    first = waiting.pool.submit(ask)
    wait_until(lambda: waiting.n_waiting == 1)
    others = [waiting.ask(query(i)) for i in (2, 3)]
    wait_until(lambda: waiting.n_waiting == 3)
    raised = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(stopped[0]), ctypes.py_object(KeyboardInterrupt)
    )
    assert raised == 1
    waiting.echo.gate.set()
    assert values(others) == [[[2]], [[3]]]
    assert isinstance(first.exception(WAIT_S), KeyboardInterrupt)
