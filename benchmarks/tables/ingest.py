"""Loading, as a table."""

from __future__ import annotations

from statistics import median
from typing import Any

from tables.grid import Grid, rate

_BARE = "hnswlib"


def grids(records: list[dict[str, Any]]) -> list[Grid]:
    """Lay out the records of the section "ingest"."""
    engines: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        engines.setdefault(record["engine"], []).append(record)
    medians = {name: _indexed(rounds) for name, rounds in engines.items()}
    bare = medians.get(_BARE)
    rows = [
        [
            rounds[0]["label"],
            "yes" if rounds[0]["durable"] else "no",
            rate(median(r["acknowledged_per_second"] for r in rounds)),
            rate(medians[name]),
            f"{medians[name] / bare:.2f}" if bare else "",
        ]
        for name, rounds in engines.items()
    ]
    return [
        Grid(
            f"Loading {records[0]['rows']:,} rows: rows a second",
            ["", "durable", "taken", "indexed", f"ratio to {_BARE}.add_items"],
            rows,
            "Medians of the rounds, one round for peers; each engine has the machine alone.",
        )
    ]


def _indexed(rounds: list[dict[str, Any]]) -> float:
    return float(median(record["indexed_per_second"] for record in rounds))
