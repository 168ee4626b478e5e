"""The kernel alone, on one thread, beside hnswlib: each with a graph of its own, at equal recall."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.console import Console

from contenders.registry import ENGINES
from lineup import Lineup
from measure import serving
from plan import Plan
from workload import Workload

_ENGINES = ("hnswlib", "kernel")


def measure(work: Workload, plan: Plan, console: Console) -> list[dict[str, Any]]:
    """Measure single queries and batches on one thread.

    Returns:
        Records as those of the section "serving"; none when the kernel is not installed.
    """
    if any(ENGINES[name].missing for name in _ENGINES):
        return []
    alone = replace(
        plan,
        engines=_ENGINES,
        shards=1,
        search_threads=1,
        callers=(1,),
        batches=((1_000, 1),),
    )
    with Lineup(work, alone, console) as lineup:
        return serving.measure(lineup)
