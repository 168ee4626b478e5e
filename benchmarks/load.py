"""What clients do: single queries from many callers, batches, and writes at full speed."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event

import numpy as np
from workload import Floats

import fanlight


@dataclass(frozen=True, slots=True)
class Latencies:
    """What callers saw.

    Attributes:
        per_second: answers a second.
        p50_ms: median latency.
        p99_ms: 99th percentile.
        calls: how many were measured.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    calls: int


def single_queries(
    address: str, collection: str, queries: Floats, k: int, ef: int, callers: int, seconds: float
) -> Latencies:
    """Measure single queries from concurrent callers, each of which waits for its answer."""
    return asyncio.run(_single(address, collection, queries, k, ef, callers, seconds))


async def _single(
    address: str, collection: str, queries: Floats, k: int, ef: int, callers: int, seconds: float
) -> Latencies:
    async with fanlight.AsyncClient(address) as client:
        items = client.collection(collection)
        await items.search(queries[0], k=k, ef_search=ef)
        times: list[float] = []
        started = time.perf_counter()

        async def caller(number: int) -> None:
            at = number
            while time.perf_counter() - started < seconds:
                before = time.perf_counter()
                await items.search(queries[at % len(queries)], k=k, ef_search=ef)
                times.append(time.perf_counter() - before)
                at += callers

        await asyncio.gather(*(caller(number) for number in range(callers)))
        elapsed = time.perf_counter() - started
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return Latencies(len(times) / elapsed, float(p50), float(p99), len(times))


def batch_rate(
    address: str, collection: str, queries: Floats, k: int, ef: int, seconds: float
) -> float:
    """Measure queries per second in batches from one caller."""
    with fanlight.Client(address) as client:
        items = client.collection(collection)
        items.search(queries, k=k, ef_search=ef, timeout=60)
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            items.search(queries, k=k, ef_search=ef, timeout=60)
            done += len(queries)
        return done / (time.perf_counter() - started)


@contextmanager
def ingest(address: str, collection: str, vectors: Floats, first_id: int) -> Iterator[list[float]]:
    """Upsert from another process as fast as it goes; gives [rows per second] at the end."""
    context = multiprocessing.get_context("spawn")
    started, stop, result = context.Event(), context.Event(), context.Queue()
    arguments = (address, collection, vectors, first_id, started, stop, result)
    process = context.Process(target=_write, args=arguments)
    process.start()
    rate: list[float] = []
    try:
        if not started.wait(60):
            raise TimeoutError("the writer did not start")
        yield rate
    finally:
        stop.set()
        rate.append(result.get(timeout=120))
        process.join()


def _write(
    address: str,
    collection: str,
    vectors: Floats,
    first_id: int,
    started: Event,
    stop: Event,
    result: multiprocessing.Queue[float],
) -> None:
    with fanlight.Client(address) as client:
        items = client.collection(collection)
        rows, begun = 0, time.perf_counter()
        while not stop.is_set():
            part = np.arange(rows, rows + 1_000) % len(vectors)
            ids = first_id + np.arange(rows, rows + 1_000)
            items.upsert(ids, vectors[part], progress=False, timeout=120)
            rows += len(ids)
            started.set()
        result.put(rows / (time.perf_counter() - begun))
