"""Loading: rows a second to durable and to fully indexed, beside bare hnswlib."""

from __future__ import annotations

import contextlib
from typing import Any

from rich.console import Console

from contenders.contract import Loaded
from contenders.processes import memory_mb
from contenders.registry import BASELINE, ENGINES, OURS
from lineup import setup_of
from plan import Plan
from workload import Workload

_EVERY_ROUND = (BASELINE, "hnswlib", "kernel", OURS)


def measure(work: Workload, plan: Plan, console: Console) -> list[dict[str, Any]]:
    """Load engines anew in every round, one at a time, each with the machine alone.

    Peers are loaded in the first round only: some take minutes, and no ratio of ours is to them.

    Returns:
        One record an engine and round.
    """
    records = []
    for number in range(plan.rounds):
        wanted = [name for name in plan.engines if number == 0 or name in _EVERY_ROUND]
        records += [_load(name, number, work, plan) for name in wanted]
        console.print(f"ingest: round {number + 1}", style="dim")
    return records


def _load(name: str, number: int, work: Workload, plan: Plan) -> dict[str, Any]:
    with contextlib.ExitStack() as opened:
        engine = ENGINES[name].make(setup_of(plan, work, opened))
        opened.callback(engine.close)
        loaded = engine.load(work.base)
        return {
            "engine": name,
            "label": engine.label,
            "round": number,
            "rows": len(work.base),
            "durable": loaded.durable,
            "servers_memory_mb": memory_mb(engine.processes().values()),
            **_rates(loaded, len(work.base)),
        }


def _rates(loaded: Loaded, rows: int) -> dict[str, float]:
    return {
        "acknowledged_per_second": rows / loaded.acknowledged_s,
        "indexed_per_second": rows / loaded.indexed_s,
    }
