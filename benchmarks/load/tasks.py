"""Load from tasks of one event loop."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import selectors
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from load.collector import with_short_collections
from load.figures import Record
from workload import Floats

AsyncSearch = Callable[[Floats], Awaitable[object]]
Result = TypeVar("Result")
# Calls before arrivals are measured, so that connections stand.
_WARM_UP = 32


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run on this process's loop, whose timers are exact to microseconds."""
    with with_short_collections():
        return _runner().run(work)


@functools.cache
def _runner() -> asyncio.Runner:
    """Make the loop of this process.

    It lives as long as the process: gRPC's poller goes on to wake loops that are closed. The usual
    loop waits with epoll, whose timeout counts whole milliseconds, rounded up: each call of an
    open loop would be half a millisecond late.
    """
    runner = asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    )
    atexit.register(runner.close)
    return runner


async def closed(
    search: AsyncSearch, requests: Sequence[Floats], callers: int, seconds: float
) -> Record:
    """Measure callers each of whom waits for an answer before the next call.

    An error ends the measurement.
    """
    times: list[float] = []
    await asyncio.gather(*(search(requests[n % len(requests)]) for n in range(callers)))
    started, cpu = time.perf_counter(), time.process_time()
    deadline = started + seconds

    async def call(number: int) -> None:
        for at in itertools.count(number, callers):
            before = time.perf_counter()
            if before >= deadline:
                return
            await search(requests[at % len(requests)])
            times.append(time.perf_counter() - before)

    await asyncio.gather(*(call(number) for number in range(callers)))
    elapsed, spent = time.perf_counter() - started, time.process_time() - cpu
    return Record(times, elapsed, spent, Counter())


async def arriving(
    search: AsyncSearch, requests: Sequence[Floats], arrivals: NDArray[np.float64]
) -> Record:
    """Measure calls made at given times, whether or not earlier ones were answered.

    A latency counts from the time its call was due, so that neither a slow engine nor a slow
    generator hides a wait.
    """
    latencies: list[float] = []
    late: list[float] = []
    errors: Counter[str] = Counter()
    await asyncio.gather(*(search(request) for request in requests[:_WARM_UP]))
    started, cpu = time.perf_counter() + 0.01, time.process_time()

    async def call(number: int, due: float) -> None:
        late.append(time.perf_counter() - due)
        try:
            await search(requests[number % len(requests)])
        except Exception as error:
            errors[type(error).__name__] += 1
        else:
            latencies.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as calls:
        for number, arrival in enumerate(arrivals.tolist()):
            due = started + arrival
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.create_task(call(number, due))
    elapsed, spent = time.perf_counter() - started, time.process_time() - cpu
    return Record(latencies, elapsed, spent, errors, late)
