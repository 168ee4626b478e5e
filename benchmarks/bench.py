"""Measure a Fanlight cluster beside raw hnswlib and other engines, in one run on one machine.

Prints tables of ratios, writes everything as JSON, and draws plots; see README.md here.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from contenders.registry import BASELINE, ENGINES
from lineup import Lineup
from machine import description, environment
from measure import curve, ingest, latency, serving
from measure.growth import Growth
from plan import QUICK, QUICK_DIM, QUICK_ROWS, SECTIONS, Plan
from report import draw, print_tables
from workload import LOADERS, Workload, clustered

RESULTS = Path(__file__).parent / "results"
_NEED_LINEUP = {"serving", "curve", "latency"}


def main() -> None:
    """Run the benchmark."""
    arguments = _parser().parse_args()
    plan, work = _plan(arguments), _work(arguments)
    console = Console()
    console.print(f"{work.name}: {len(work.base):,} x {work.dim}; {description()}")
    plan = _installed(plan, console)
    started = datetime.now(UTC)
    figures = _header(work, plan, started)
    figures["sections"] = _measure(work, plan, console)
    figures["seconds"] = round((datetime.now(UTC) - started).total_seconds(), 1)
    path = arguments.output or RESULTS / f"bench-{work.name}-{started:%Y%m%dT%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1))
    print_tables(figures, console)
    console.print(f"written to {path} after {figures['seconds']} s")
    draw(figures, path.parent, console)


def _parser() -> argparse.ArgumentParser:
    default = Plan()
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="small and short: shows that all of it works")
    add("--only", type=_names(SECTIONS), help=f"of {','.join(SECTIONS)}")
    add("--engines", type=_names(ENGINES), help=f"of {','.join(ENGINES)}")
    add("--data", choices=LOADERS, default="fashion_mnist", help="folder of FANLIGHT_DATA")
    add("--rows", type=int, help="of generated vectors, instead of FANLIGHT_DATA")
    add("--dim", type=int, default=128, help="of generated vectors")
    add("--seed", type=int, default=default.seed, help="of generated vectors and arrivals")
    add("--shards", type=int, default=default.shards)
    add("--k", type=int, default=default.k)
    add("--ef", type=int, default=default.ef, help="of hnswlib; sets the recall for all")
    add("--seconds", type=float, help="for each measurement")
    add("--rounds", type=int, help="measurements of each figure; the median counts")
    add("--callers", choices=("tasks", "threads"), default=default.caller_kind)
    add("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
    add("--output", type=Path, help="the JSON file; plots go beside it")
    return parser


def _names(known: Any) -> Any:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"expected of {', '.join(known)}, got {unknown[0]}")
        return names

    return parse


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = QUICK if arguments.quick else Plan()
    given = {
        "sections": arguments.only,
        "engines": arguments.engines,
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "seed": arguments.seed,
        "shards": arguments.shards,
        "k": arguments.k,
        "ef": arguments.ef,
        "caller_kind": arguments.callers,
        "settings": tuple(arguments.settings),
    }
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def _work(arguments: argparse.Namespace) -> Workload:
    folder = os.environ.get("FANLIGHT_DATA")
    if folder and not arguments.rows and not arguments.quick:
        return LOADERS[arguments.data](Path(folder))
    if arguments.quick:
        return clustered(arguments.rows or QUICK_ROWS, QUICK_DIM, arguments.seed)
    return clustered(arguments.rows or 100_000, arguments.dim, arguments.seed)


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
    data = "FANLIGHT_DATA=<folder> " if os.environ.get("FANLIGHT_DATA") else ""
    given = [a for a in sys.argv[1:] if not a.startswith("--output")]
    return f"{data}python benchmarks/bench.py {shlex.join(given)}".rstrip()


def _measure(work: Workload, plan: Plan, console: Console) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "ingest" in plan.sections:
        found["ingest"] = ingest.measure(work, plan, console)
    if _NEED_LINEUP & set(plan.sections):
        with Lineup(work, plan, console) as lineup:
            if "serving" in plan.sections:
                found["serving"] = serving.measure(lineup)
            if "curve" in plan.sections:
                found["curve"] = curve.measure(lineup)
            # Last, since it writes to the cluster.
            if "latency" in plan.sections:
                found["latency"] = latency.measure(lineup)
    if "growth" in plan.sections:
        found["growth"] = Growth(plan, console).measure()
    return found


if __name__ == "__main__":
    main()
