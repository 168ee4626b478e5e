"""Loading: rows a second to durable and to fully indexed, beside bare hnswlib."""

from __future__ import annotations

import contextlib
from typing import Any

from rich.console import Console

from contenders.contract import Loaded
from contenders.processes import memory_mb
from contenders.registry import ENGINES
from lineup import setup_of
from plan import Plan
from workload import Workload


def measure(work: Workload, plan: Plan, console: Console) -> list[dict[str, Any]]:
    """Load every engine anew in every round, one at a time, each with the machine alone.

    Returns:
        One record an engine and round.
    """
    records = []
    for number in range(plan.rounds):
        for name in plan.engines:
            records.append(_load(name, number, work, plan))
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
