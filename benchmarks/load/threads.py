"""Load from threads."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from load.collector import with_short_collections
from load.figures import Record
from workload import Floats

Search = Callable[[Floats], object]


@with_short_collections()
def closed(search: Search, requests: Sequence[Floats], callers: int, seconds: float) -> Record:
    """Measure callers each of whom waits for an answer before the next call.

    An error ends the measurement.
    """
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(search, itertools.islice(itertools.cycle(requests), callers)))
        started, cpu = time.perf_counter(), time.process_time()
        deadline = started + seconds

        def call(number: int) -> list[float]:
            times = []
            for at in itertools.count(number, callers):
                before = time.perf_counter()
                if before >= deadline:
                    break
                search(requests[at % len(requests)])
                times.append(time.perf_counter() - before)
            return times

        latencies = list(itertools.chain.from_iterable(pool.map(call, range(callers))))
        elapsed, spent = time.perf_counter() - started, time.process_time() - cpu
    return Record(latencies, elapsed, spent, Counter())


@with_short_collections()
def arriving(
    search: Search, requests: Sequence[Floats], arrivals: NDArray[np.float64], workers: int
) -> Record:
    """Measure calls made at given times, whether or not earlier ones were answered.

    With all workers busy a call begins late; its latency counts from the time it was due, so
    no wait is left out.
    """
    latencies: list[float] = []
    late: list[float] = []
    errors: Counter[str] = Counter()
    numbers = itertools.count()
    search(requests[0])
    started, cpu = time.perf_counter() + 0.01, time.process_time()

    def work(_: int) -> None:
        while (number := next(numbers)) < len(arrivals):
            due = started + arrivals[number]
            time.sleep(max(0.0, due - time.perf_counter()))
            late.append(time.perf_counter() - due)
            try:
                search(requests[number % len(requests)])
            except Exception as error:
                errors[type(error).__name__] += 1
            else:
                latencies.append(time.perf_counter() - due)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    elapsed, spent = time.perf_counter() - started, time.process_time() - cpu
    return Record(latencies, elapsed, spent, errors, late)
