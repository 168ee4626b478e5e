"""What callers saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Percentiles kept of every measurement: fine where the tail is.
PERCENTILES = (
    *(float(p) for p in range(0, 99)),
    *(99.0, 99.25, 99.5, 99.75, 99.9, 99.95, 99.97, 99.99, 99.995, 99.999, 100.0),
)


@dataclass(frozen=True, slots=True)
class Record:
    """The raw times of a measurement.

    Attributes:
        latencies_s: of each answered call.
        elapsed_s: from the first call to the last answer.
        cpu_s: CPU seconds of the process that made the calls.
        errors: failed calls by class of their error.
        late_s: for arrivals, how long after its time each call was made.
    """

    latencies_s: Sequence[float]
    elapsed_s: float
    cpu_s: float
    errors: Counter[str]
    late_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """A measurement.

    Attributes:
        per_second: queries answered a second.
        calls: answered calls.
        failed: failed calls by class of their error.
        elapsed_s: how long it took.
        cpu_s: CPU seconds of the process that made the calls; for an engine in that process,
            the engine's included.
        p50_ms: median latency of a call; for arrivals measured from the time they were due.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        p999_ms: 99.9th percentile.
        max_ms: the slowest.
        percentiles: latency in ms at each of `PERCENTILES` that the number of calls supports.
        late_p99_ms: 99th percentile of how late the generator itself made its calls.
    """

    per_second: float
    calls: int
    failed: Mapping[str, int]
    elapsed_s: float
    cpu_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    percentiles: tuple[tuple[float, float], ...]
    late_p99_ms: float | None = None


def summary(record: Record, rows: int = 1) -> Load:
    """Sum up a record of calls with `rows` queries each.

    Raises:
        RuntimeError: no call was answered.
    """
    if not record.latencies_s:
        raise RuntimeError(f"no call was answered; failed: {dict(record.errors)}")
    times = np.asarray(record.latencies_s) * 1e3
    p50, p90, p99, p999 = (float(p) for p in np.percentile(times, [50, 90, 99, 99.9]))
    return Load(
        per_second=len(times) * rows / record.elapsed_s,
        calls=len(times),
        failed=dict(record.errors),
        elapsed_s=record.elapsed_s,
        cpu_s=record.cpu_s,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p999_ms=p999,
        max_ms=float(times.max()),
        percentiles=_percentiles(times),
        late_p99_ms=float(np.percentile(record.late_s, 99)) * 1e3 if record.late_s else None,
    )


def _percentiles(
    times: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> tuple[tuple[float, float], ...]:
    # A percentile stands for something when some ten calls lie beyond it.
    known = [p for p in PERCENTILES if p == 100 or (100 - p) * len(times) >= 1_000]
    values = np.percentile(times, known)
    return tuple((p, round(float(value), 4)) for p, value in zip(known, values, strict=True))
