"""Put load on an engine, where its callers would be: in its process, or in one of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from contenders.contract import Contender, Endpoint, InProcess, Server
from load import tasks, threads
from load.figures import Load, Record, summary
from load.shape import requests
from workload import Floats

CallerKind = Literal["tasks", "threads"]
Times = NDArray[np.float64]
# Threads that make calls at given times: past this many waiting at once they begin late.
_WORKERS = 256


class Driver(Protocol):
    """Puts load on one engine."""

    def closed(self, queries: Floats, callers: int, seconds: float, rows: int = 1) -> Load:
        """Measure callers who wait for each answer, with `rows` queries a call."""
        ...

    def arriving(self, queries: Floats, arrivals: Times) -> Load:
        """Measure single queries made at given times; see `poisson_arrivals`."""
        ...


class LibraryDriver:
    """Callers are threads of this process, at most one a core: more would only wait."""

    def __init__(self, engine: InProcess, k: int, ef: int) -> None:
        """Prepare; nothing runs yet."""
        self._engine, self._k, self._ef = engine, k, ef
        self._cores = os.cpu_count() or 1

    def closed(self, queries: Floats, callers: int, seconds: float, rows: int = 1) -> Load:
        """Measure; a batch is one call that uses all cores, so it has one caller."""
        one = rows == 1
        workers = min(callers, self._cores) if one else 1
        search = self._one if one else self._batch
        return summary(threads.closed(search, requests(queries, rows), workers, seconds), rows)

    def arriving(self, queries: Floats, arrivals: Times) -> Load:
        """Measure; arrivals wait for the next free core."""
        cut = requests(queries, 1)
        return summary(threads.arriving(self._one, cut, arrivals, self._cores))

    def _one(self, query: Floats) -> object:
        return self._engine.search_one(query, self._k, self._ef)

    def _batch(self, queries: Floats) -> object:
        return self._engine.search(queries, self._k, self._ef)


class ServerDriver:
    """Callers are in the process of a `CallerProcess`."""

    def __init__(self, pool: ProcessPoolExecutor, endpoint: Endpoint, kind: CallerKind) -> None:
        """Prepare; nothing is connected yet."""
        self._pool, self._endpoint, self._kind = pool, endpoint, kind

    def closed(self, queries: Floats, callers: int, seconds: float, rows: int = 1) -> Load:
        """Measure callers who wait for each answer."""
        work = _closed_tasks if self._kind == "tasks" else _closed_threads
        return summary(self._run(work, requests(queries, rows), callers, seconds), rows)

    def arriving(self, queries: Floats, arrivals: Times) -> Load:
        """Measure calls at given times."""
        work = _arriving_tasks if self._kind == "tasks" else _arriving_threads
        return summary(self._run(work, requests(queries, 1), arrivals))

    def _run(self, work: Callable[..., Record], *arguments: object) -> Record:
        return self._pool.submit(work, self._endpoint, *arguments).result()


class CallerProcess:
    """The process of the callers of servers; a context manager."""

    def __init__(self, kind: CallerKind) -> None:
        """Prepare; it starts with the first measurement."""
        self._kind: CallerKind = kind
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def __enter__(self) -> CallerProcess:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._pool.shutdown()

    def driver(self, engine: Contender, k: int, ef: int) -> Driver:
        """Give what puts load on an engine, wherever its callers are."""
        if isinstance(engine, InProcess):
            return LibraryDriver(engine, k, ef)
        assert isinstance(engine, Server), f"{engine.label} can be asked in no known way"
        return self.ask(engine.endpoint(k, ef))

    def ask(self, endpoint: Endpoint) -> Driver:
        """Give what puts load on a server."""
        return ServerDriver(self._pool, endpoint, self._kind)


def _closed_tasks(endpoint: Endpoint, cut: list[Floats], callers: int, seconds: float) -> Record:
    async def measure() -> Record:
        async with endpoint.connect_async() as search:
            return await tasks.closed(search, cut, callers, seconds)

    return tasks.run(measure())


def _arriving_tasks(endpoint: Endpoint, cut: list[Floats], arrivals: Times) -> Record:
    async def measure() -> Record:
        async with endpoint.connect_async() as search:
            return await tasks.arriving(search, cut, arrivals)

    return tasks.run(measure())


def _closed_threads(endpoint: Endpoint, cut: list[Floats], callers: int, seconds: float) -> Record:
    with endpoint.connect() as search:
        return threads.closed(search, cut, callers, seconds)


def _arriving_threads(endpoint: Endpoint, cut: list[Floats], arrivals: Times) -> Record:
    with endpoint.connect() as search:
        return threads.arriving(search, cut, arrivals, _WORKERS)
