"""What a filter costs and finds, as a table."""

from __future__ import annotations

from typing import Any

from tables.grid import Grid


def grids(records: list[dict[str, Any]]) -> list[Grid]:
    """Lay out the records that filters.py writes."""
    rows = [
        [
            record["kind"],
            f"{100 * record['share']:g} %",
            f"{record['rows']:,}",
            f"{record['recall']:.4f}",
            f"{record['times']:.2f}",
            f"{record['batch_times']:.2f}",
        ]
        for record in records
    ]
    return [
        Grid(
            "Filtered search on one shard, in process",
            ["allowed rows", "share", "rows", "recall", "time, single", "time, batches of 100"],
            rows,
            "Times are ratios to the same search without a filter.",
        )
    ]
