"""Speed at equal recall, the engines in turn: single queries and batches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from contenders.processes import cpu_of
from lineup import Lineup, Runner
from load.figures import Load


@dataclass(frozen=True, slots=True)
class Shape:
    """Who asks: callers, and how many queries each call of theirs has."""

    callers: int
    rows: int = 1

    @property
    def label(self) -> str:
        """Name it in tables."""
        of = "1 caller" if self.callers == 1 else f"{self.callers} callers"
        return of if self.rows == 1 else f"batches of {self.rows:,}, {of}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement, and the CPU seconds of the engine's processes in it."""

    load: Load
    cpu_s: dict[str, float]


def measure(lineup: Lineup) -> list[dict[str, Any]]:
    """Measure every engine in every shape, round after round.

    Returns:
        One record an engine and shape: the round with the median rate, with the lowest and
        highest rate of all.
    """
    plan = lineup.plan
    shapes = [Shape(callers) for callers in plan.callers]
    shapes += [Shape(callers, rows) for rows, callers in plan.batches]
    records = []
    for shape in shapes:
        found: dict[str, list[Measured]] = defaultdict(list)
        for _ in range(plan.rounds):
            for runner in lineup.runners:
                found[runner.name].append(once(lineup, runner, shape))
        records += [_record(r, shape, found[r.name]) for r in lineup.runners]
        lineup.console.print(f"serving: {shape.label}", style="dim")
    return records


def once(lineup: Lineup, runner: Runner, shape: Shape, ef: int | None = None) -> Measured:
    """Measure an engine once."""
    driver = lineup.driver(runner, ef)
    with cpu_of(runner.engine.processes()) as spent:
        load = driver.closed(
            lineup.work.queries, shape.callers, lineup.plan.seconds, rows=shape.rows
        )
    return Measured(load, spent)


def _record(runner: Runner, shape: Shape, rounds: list[Measured]) -> dict[str, Any]:
    by_rate = sorted(rounds, key=lambda measured: measured.load.per_second)
    median = by_rate[len(by_rate) // 2]
    return {
        "engine": runner.name,
        "label": runner.label,
        "shape": shape.label,
        "callers": shape.callers,
        "rows": shape.rows,
        "ef": runner.matched.ef,
        "recall": runner.matched.recall,
        "lowest_per_second": by_rate[0].load.per_second,
        "highest_per_second": by_rate[-1].load.per_second,
        "cpu_ms_per_query": cpu_per_query(median),
        **asdict(median.load),
    }


def cpu_per_query(measured: Measured) -> dict[str, float]:
    """Tell the CPU milliseconds that a query cost each process, the callers' included."""
    queries = measured.load.per_second * measured.load.elapsed_s
    spent = {"callers": measured.load.cpu_s, **measured.cpu_s}
    return {name: round(1e3 * seconds / queries, 4) for name, seconds in spent.items()}
