"""Deadlines of 50 ms over shards that are slow: stopped, or busy with real work.

No answer may come later than its deadline and 50 ms, and no work may be begun for a caller whose
time is over. What a shard has begun is told by the processor time that it takes afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import psutil
from tests.faults.outcome import Outcome
from tests.faults.under_load import COLLECTION, crashes, loaded_cluster

from fanlight.cli.local_cluster import LocalCluster
from fanlight.model import SearchRequest
from fanlight.wire import codec

ROWS = 20_000
DIM = 64
DEADLINE_S = 0.05
LATE_S = 0.05
# Its queue refuses nobody, so that what is not begun is not begun for its deadline.
PATIENT = {"limits": {"queue_s": 3_600.0}}
_PATH = "/fanlight.v1.SearchService/Search"


def message_of(queries: int, k: int, exact: bool, seed: int) -> bytes:
    vectors = np.random.default_rng(seed).standard_normal((queries, DIM), dtype=np.float32)
    request = SearchRequest(COLLECTION, vectors, k, exact=exact)
    return codec.to_search(request).SerializeToString()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process in the meantime."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def cpu_s(cluster: LocalCluster) -> float:
    """Tell the seconds of processor time that the shards have taken."""
    shards = [process.pid for process in cluster.processes[:-1]]
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in shards)


async def ask(
    address: str, message: bytes, n: int, deadline_s: float | None, at_once: int = 16
) -> tuple[list[float], Counter[str]]:
    """Search n times; tell by how many seconds each answer was late, and the codes."""
    lateness, codes, left = list[float](), Counter[str](), n

    async def caller(channel: grpc.aio.Channel) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            begun = time.monotonic()
            try:
                search: Any = channel.unary_unary(_PATH)
                await search(message, timeout=deadline_s)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
            lateness.append(time.monotonic() - begun - (deadline_s or 0.0))

    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.gather(*(caller(channel) for _ in range(at_once)))
    return lateness, codes


def settled_cpu_s(cluster: LocalCluster, within_s: float) -> float:
    """Wait until the shards are idle; tell the processor time they took until then."""
    before, ends = cpu_s(cluster), time.monotonic() + within_s
    last = before
    while time.monotonic() < ends:
        time.sleep(0.3)  # an interval to measure over
        now = cpu_s(cluster)
        if now - last < 0.05:
            return now - before
        last = now
    return last - before


def queued_work_s(cluster: LocalCluster, deadline_s: float, n: int) -> tuple[float, Counter[str]]:
    """Queue n heavy searches at a shard that is stopped, let it go on, and see what it works.

    All of them are over by then if `deadline_s` is short; with a long one they are all done.
    """
    shard = cluster.process("shard-0")
    message = message_of(64, 10, True, 1)
    with stopped(shard.pid):
        _, codes = asyncio.run(ask(shard.address, message, n, deadline_s, at_once=n))
    return settled_cpu_s(cluster, 20.0), codes


def finished_work_s(cluster: LocalCluster, n: int) -> float:
    """Tell what the same searches take when their callers wait: the positive control."""
    before = cpu_s(cluster)
    asyncio.run(ask(cluster.process("shard-0").address, message_of(64, 10, True, 1), n, 60.0, n))
    return cpu_s(cluster) - before


def run(seconds: float, seed: int, n: int | None = None) -> Outcome:
    """Ask with 50 ms while a shard is stopped, and while all are busy with heavy searches."""
    calls = n or max(200, int(seconds * 20))
    light, heavy = message_of(1, 10, False, seed), message_of(64, 100, True, seed)
    with loaded_cluster(ROWS, DIM, seed, server=PATIENT) as cluster:
        with stopped(cluster.process("shard-0").pid):
            late_stopped, codes = asyncio.run(ask(cluster.address, light, calls, DEADLINE_S))

        async def both() -> tuple[list[float], Counter[str]]:
            work = asyncio.create_task(ask(cluster.address, heavy, 40, 10.0, at_once=4))
            try:
                return await ask(cluster.address, light, calls, DEADLINE_S, at_once=4)
            finally:
                await work

        late_busy, busy_codes = asyncio.run(both())
        wasted_s, _ = queued_work_s(cluster, DEADLINE_S, 40)
        whole_s = finished_work_s(cluster, 40)
        died = crashes(cluster)
    late = np.array([*late_stopped, *late_busy])
    strange = {
        code
        for code in (*codes, *busy_codes)
        if code not in ("OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
    }
    return Outcome(
        "deadlines of 50 ms over slow shards",
        trials=len(late) + 40,
        acknowledged=codes["OK"] + busy_codes["OK"],
        wrong=int((late > LATE_S).sum()) + len(strange) + (wasted_s > 0.25 * whole_s),
        crashes=died,
        control=f"the same 40 searches take {whole_s:.2f} s of the shards when callers wait",
        notes=(
            f"late by p50 {np.median(late) * 1000:.1f} ms, p99 "
            f"{np.percentile(late, 99) * 1000:.1f} ms, most {late.max() * 1000:.1f} ms; "
            f"{wasted_s:.2f} s of work for 40 heavy searches that were over; stopped "
            f"{dict(codes)}, busy {dict(busy_codes)}"
        ),
    )
