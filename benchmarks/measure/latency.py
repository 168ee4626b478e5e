"""Latency at given loads, at rest and during ingest.

Arrivals are independent of answers and latencies count from when a call was due, so that a wait
is counted for everybody who waits (no coordinated omission).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from contenders.contract import Server
from contenders.fanlight_cluster import NAME, FanlightCluster
from contenders.registry import BASELINE, OURS
from lineup import Lineup, Runner
from load.figures import Load
from load.shape import poisson_arrivals
from load.writer import ingest

# Callers at which a rate counts as the peak; more made nothing faster (see the section serving).
_PEAK_CALLERS = 64
# The load during ingest, as a share of peak at rest.
_INGEST_FRACTION = 0.5


def measure(lineup: Lineup) -> dict[str, Any]:
    """Measure latency at fractions of each engine's own peak, and ours during ingest.

    The engines are the servers and, as a library in process, the yardstick.

    Returns:
        "load": one record an engine and fraction; "ingest": two records a round, at rest and
        during ingest; the latter is absent without Fanlight.
    """
    records, peaks = [], {}
    for runner in _asked(lineup):
        peaks[runner.name] = _peak(lineup, runner)
        for fraction in lineup.plan.fractions:
            load = _arriving(lineup, runner, fraction * peaks[runner.name])
            records.append(_record(runner, peaks[runner.name], fraction, load))
        lineup.console.print(f"latency: {runner.label}", style="dim")
    figures: dict[str, Any] = {"load": records}
    ours = next((runner for runner in lineup.runners if runner.name == OURS), None)
    if ours is not None:
        figures["ingest"] = _during_ingest(lineup, ours, peaks[OURS])
    return figures


def _asked(lineup: Lineup) -> list[Runner]:
    return [r for r in lineup.runners if r.name == BASELINE or isinstance(r.engine, Server)]


def _peak(lineup: Lineup, runner: Runner) -> float:
    driver = lineup.driver(runner)
    return driver.closed(lineup.work.queries, _PEAK_CALLERS, lineup.plan.seconds).per_second


def _arriving(lineup: Lineup, runner: Runner, per_second: float) -> Load:
    arrivals = poisson_arrivals(per_second, 2 * lineup.plan.seconds, lineup.plan.seed)
    return lineup.driver(runner).arriving(lineup.work.queries, arrivals)


def _record(runner: Runner, peak: float, fraction: float, load: Load) -> dict[str, Any]:
    return {
        "engine": runner.name,
        "label": runner.label,
        "ef": runner.matched.ef,
        "recall": runner.matched.recall,
        "peak_per_second": peak,
        "fraction": fraction,
        "offered_per_second": fraction * peak,
        **asdict(load),
    }


def _during_ingest(lineup: Lineup, ours: Runner, peak: float) -> list[dict[str, Any]]:
    cluster = ours.engine
    assert isinstance(cluster, FanlightCluster)
    fresh = lineup.work.fresh(lineup.plan.seed)
    rate, first_id, records = _INGEST_FRACTION * peak, len(lineup.work.base), []
    for number in range(lineup.plan.rounds):
        rest = _arriving(lineup, ours, rate)
        with ingest(cluster.address, NAME, fresh, first_id) as written:
            during = _arriving(lineup, ours, rate)
        cluster.await_rest()
        first_id += written.rows
        for state, load in (("at rest", rest), ("during ingest", during)):
            record = _record(ours, peak, _INGEST_FRACTION, load)
            records.append({**record, "round": number, "state": state})
        records[-1]["rows_per_second"] = written.per_second
        lineup.console.print(f"latency during ingest: round {number + 1}", style="dim")
    return records
