"""Recall against speed, over ef, in batches."""

from __future__ import annotations

from typing import Any

from lineup import Lineup
from measure.serving import Shape, once

_SHAPE = Shape(callers=1, rows=1_000)


def measure(lineup: Lineup) -> list[dict[str, Any]]:
    """Measure recall and rate of every engine at every ef, the engines in turn.

    Returns:
        One record an engine and ef.
    """
    plan, records = lineup.plan, []
    for ef in (ef for ef in plan.efs if ef >= plan.k):
        for runner in lineup.runners:
            found = runner.engine.search(lineup.work.queries, plan.k, ef)
            records.append(
                {
                    "engine": runner.name,
                    "label": runner.label,
                    "ef": ef,
                    "recall": lineup.answers.recall(found),
                    "per_second": once(lineup, runner, _SHAPE, ef).load.per_second,
                }
            )
        lineup.console.print(f"curve: ef {ef}", style="dim")
    return records
