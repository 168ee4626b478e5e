"""Measure a Fanlight cluster beside raw hnswlib and other engines, in one run on one machine.

Prints tables of ratios, writes everything as JSON, and draws plots; README.md here says more.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from arguments import DATA, parser, plan_of, work_of
from contenders.registry import BASELINE, ENGINES
from lineup import Lineup
from machine import description, environment
from measure import curve, growth, ingest, kernel, latency, serving
from plan import Plan
from report import draw, print_tables
from workload import Workload

_RESULTS = Path(__file__).parent / "results"
# Of one line-up of engines; the last one writes to the cluster.
_SIDE_BY_SIDE: dict[str, Callable[[Lineup], Any]] = {
    "serving": serving.measure,
    "curve": curve.measure,
    "latency": latency.measure,
}
# Wide enough for the tables, where the output is no terminal.
_WIDTH = 150


def main() -> None:
    """Run the benchmark."""
    arguments = parser(__doc__).parse_args()
    # Being told to end ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    plan, work = _installed(plan_of(arguments), console), work_of(arguments)
    console.print(f"{work.name}: {len(work.base):,} x {work.dim}; {description()}")
    started = datetime.now(UTC)
    figures = _header(work, plan, started)
    figures |= _measure(work, plan, console)
    folder = arguments.output or _RESULTS / f"{work.name}-{started:%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(figures, indent=1))
    print_tables(figures, console)
    console.print(f"written to {folder / 'run.json'}; {_told(figures['seconds'])}")
    draw(figures, folder, console)


def _installed(plan: Plan, console: Console) -> Plan:
    """Leave out what is not installed; the yardstick always stands first."""
    wanted = (BASELINE, *(name for name in plan.engines if name != BASELINE))
    for name in wanted:
        if missing := ENGINES[name].missing:
            console.print(f"{name} skipped: {', '.join(missing)} is not installed", style="yellow")
    return replace(plan, engines=tuple(n for n in wanted if not ENGINES[n].missing))


def _header(work: Workload, plan: Plan, started: datetime) -> dict[str, Any]:
    return {
        "started": started.isoformat(timespec="seconds"),
        "command": _command(),
        **environment(),
        "workload": {"name": work.name, "rows": len(work.base), "dim": work.dim},
        "plan": asdict(plan),
    }


def _command() -> str:
    """Tell how to run this again, with no path of this machine."""
    data = f"{DATA}=<folder> " if os.environ.get(DATA) else ""
    given = sys.argv[1:]
    if "--output" in given:
        at = given.index("--output")
        del given[at : at + 2]
    return f"{data}python benchmarks/bench.py {shlex.join(given)}".rstrip()


def _measure(work: Workload, plan: Plan, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {}
    seconds: dict[str, float] = {}

    def section(name: str, measure: Callable[[], Any]) -> None:
        if name in plan.sections:
            started = time.perf_counter()
            found[name] = measure()
            seconds[name] = round(time.perf_counter() - started, 1)

    section("kernel", lambda: kernel.measure(work, plan, console))
    section("ingest", lambda: ingest.measure(work, plan, console))
    if _SIDE_BY_SIDE.keys() & set(plan.sections):
        started = time.perf_counter()
        with Lineup(work, plan, console) as lineup:
            seconds["loading"] = round(time.perf_counter() - started, 1)
            for name, measure in _SIDE_BY_SIDE.items():
                section(name, partial(measure, lineup))
    section("growth", lambda: growth.Growth(plan, console).measure())
    return {"sections": found, "seconds": seconds}


def _told(seconds: dict[str, float]) -> str:
    each = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return f"took {sum(seconds.values()):.0f} s: {each}"


if __name__ == "__main__":
    main()
