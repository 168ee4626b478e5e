"""Load from half to ten times of what a cluster can do, and back.

Open loop: searches are sent at the planned moments whether answers come or not, by processes of
their own. Capacity is made low by real work alone: exact searches of many queries at once.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from tests.faults.outcome import Outcome
from tests.faults.under_load import COLLECTION, crashes, loaded_cluster

import fanlight
from fanlight import FanlightError, Overloaded

ROWS = 40_000
DIM = 128
# What a caller waits for an answer; and one who waits for whatever was let in.
TIMEOUT_S = 3.0
PATIENT_S = 120.0
# Of each search. Its share of the cores is then larger than that of all the messages around it, so
# that ten times the load can be made on the same machine.
QUERIES = 96
CURVE = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Job:
    """What one process of the generator does.

    Attributes:
        address: of the router.
        rate: searches a second.
        seconds: for how long.
        queries: of each search.
        timeout_s: what its caller waits for an answer.
    """

    address: str
    rate: float
    seconds: float
    queries: int
    timeout_s: float


@dataclass
class Seen:
    """What came back.

    Attributes:
        codes: calls by outcome: "OK", or the class of the error.
        answered_s: seconds of those that were answered.
        shed_s: of those that were refused as too much.
        good: answers by whole second since the beginning, in time.
    """

    codes: Counter[str] = field(default_factory=Counter)
    answered_s: list[float] = field(default_factory=list)
    shed_s: list[float] = field(default_factory=list)
    good: Counter[int] = field(default_factory=Counter)


async def generate(job: Job) -> Seen:
    """Send searches at a steady rate, each once, without a second try."""
    seen, calls = Seen(), set[asyncio.Task[None]]()
    rng, loop = np.random.default_rng(1), asyncio.get_running_loop()
    queries = rng.standard_normal((job.queries, DIM), dtype=np.float32)
    async with fanlight.AsyncClient(job.address, timeout=job.timeout_s, max_attempts=1) as client:
        items = client.collection(COLLECTION)
        begun = loop.time()

        async def ask() -> None:
            at = loop.time()
            try:
                await items.search(queries, k=10, exact=True)
            except FanlightError as error:
                seen.codes[type(error).__name__] += 1
                if isinstance(error, Overloaded):
                    seen.shed_s.append(loop.time() - at)
            else:
                seen.codes["OK"] += 1
                seen.answered_s.append(loop.time() - at)
                seen.good[int(loop.time() - begun)] += 1

        for number in range(int(job.rate * job.seconds)):
            await asyncio.sleep(begun + number / job.rate - loop.time())
            calls.add(asyncio.create_task(ask()))
        await asyncio.gather(*calls)
    return seen


def offered(job: Job, processes: int = 2) -> Seen:
    """Offer a load with processes of their own; give what all of them saw."""
    part_of_it = json.dumps(asdict(replace(job, rate=job.rate / processes)))
    command = [sys.executable, "-m", "tests.faults.overload", part_of_it]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    total = Seen()
    for each in running:
        out, _ = each.communicate()
        assert each.returncode == 0, "the generator failed"
        part: dict[str, Any] = json.loads(out)
        total.codes.update(part["codes"])
        total.answered_s += part["answered_s"]
        total.shed_s += part["shed_s"]
        total.good.update({int(second): n for second, n in part["good"].items()})
    return total


def capacity(address: str, queries: int, seconds: float) -> float:
    """Measure how many searches a second are answered when a few callers wait for theirs."""

    async def measure() -> float:
        rng = np.random.default_rng(1)
        asked = rng.standard_normal((queries, DIM), dtype=np.float32)
        async with fanlight.AsyncClient(address, timeout=60) as client:
            items, done, begun = client.collection(COLLECTION), 0, time.monotonic()

            async def caller() -> None:
                nonlocal done
                while time.monotonic() - begun < seconds:
                    await items.search(asked, k=10, exact=True)
                    done += 1

            await asyncio.gather(*(caller() for _ in range(6)))
            return done / (time.monotonic() - begun)

    return asyncio.run(measure())


def recovery_s(seen: Seen, rate: float) -> float:
    """Tell after how many seconds four fifths of a light load were answered, to the second."""
    seconds = range(max(seen.good, default=0) + 1)
    return next((float(s) for s in seconds if seen.good[s] >= 0.8 * rate), float("inf"))


def goodput(seen: Seen, seconds: float) -> float:
    """Tell the searches a second that were answered while the load lasted, not after it."""
    whole = int(seconds)
    return sum(n for second, n in seen.good.items() if second < whole) / whole


@dataclass(frozen=True)
class Ride:
    """A curve of loads.

    Attributes:
        peak: searches a second that a few patient callers get.
        steps: what was seen at each share of it.
        back: what was seen at half of it afterwards.
        crashes: processes that ended.
    """

    peak: float
    steps: dict[float, Seen]
    back: Seen
    crashes: int


def ride(curve: Sequence[float], seconds: float, seed: int) -> Ride:
    """Offer one load after the other, each for so long, and half of the peak at last."""
    with loaded_cluster(ROWS, DIM, seed) as cluster:
        peak = capacity(cluster.address, QUERIES, max(2.0, seconds / 2))
        job = Job(cluster.address, peak, seconds, QUERIES, TIMEOUT_S)
        steps = {share: offered(replace(job, rate=share * peak)) for share in curve}
        back = offered(replace(job, rate=0.5 * peak))
        return Ride(peak, steps, back, crashes(cluster))


def without_bounds(seconds: float, seed: int) -> Seen:
    """Offer eight times of what is possible to servers that refuse nothing: the positive control.

    Its callers wait for what was let in, since a caller's time bounds the queue as well.
    """
    programs = {"limits": {"queue_s": 3_600.0}}
    with loaded_cluster(ROWS, DIM, seed, server=programs, router=programs) as cluster:
        peak = capacity(cluster.address, QUERIES, max(2.0, seconds / 2))
        return offered(Job(cluster.address, 8 * peak, seconds, QUERIES, PATIENT_S))


def run(seconds: float, seed: int) -> Outcome:
    """Ride the whole curve, and judge the bars: goodput, time of a refusal, recovery."""
    step_s = max(4.0, min(30.0, seconds / (len(CURVE) + 8)))
    ridden = ride(CURVE, step_s, seed)
    peak = max(goodput(seen, step_s) for seen in ridden.steps.values())
    peak = max(peak, ridden.peak)
    ten = ridden.steps[10.0]
    share = goodput(ten, step_s) / peak
    refusals = [s for seen in ridden.steps.values() for s in seen.shed_s]
    shed_ms = float(np.percentile(refusals, 99)) * 1000 if refusals else 0.0
    median_ms = float(np.median(refusals)) * 1000 if refusals else 0.0
    back_s = recovery_s(ridden.back, 0.5 * ridden.peak)
    strange = sum(
        n
        for seen in (*ridden.steps.values(), ridden.back)
        for code, n in seen.codes.items()
        if code not in ("OK", "Overloaded", "DeadlineExceeded")
    )
    control = without_bounds(4.0, seed)
    curve = "; ".join(
        f"{s:g}x: {goodput(seen, step_s):.1f}/s, {dict(seen.codes)}, "
        f"p99 {np.percentile(seen.answered_s or [0], 99):.2f} s"
        for s, seen in ridden.steps.items()
    )
    return Outcome(
        "overload",
        trials=sum(sum(seen.codes.values()) for seen in ridden.steps.values()),
        acknowledged=sum(seen.codes["OK"] for seen in ridden.steps.values()),
        wrong=strange + (share < 0.8) + (shed_ms > 20) + (back_s > 5),
        crashes=ridden.crashes,
        recovery_s=(back_s, back_s),
        control=(
            f"with queue_s at an hour, answers at 8x took {np.median(control.answered_s):.1f} s "
            f"(median), {dict(control.codes)}"
        ),
        notes=(
            f"peak {peak:.1f}/s; goodput at 10x {share:.0%} of it; refusals median "
            f"{median_ms:.1f} ms, p99 {shed_ms:.1f} ms; {curve}; back {dict(ridden.back.codes)}"
        ),
    )


if __name__ == "__main__":
    result = asyncio.run(generate(Job(**json.loads(sys.argv[1]))))
    sys.stdout.write(
        json.dumps(
            {
                "codes": result.codes,
                "answered_s": result.answered_s,
                "shed_s": result.shed_s,
                "good": result.good,
            }
        )
    )
