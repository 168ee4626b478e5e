"""How cost grows, as tables."""

from __future__ import annotations

from typing import Any

from tables.grid import Grid, milliseconds, rate
from tables.serving import split

_VARIED = {
    "items": ("rows", "items"),
    "dims": ("dim", "dimensions"),
    "shards": ("shards", "shards"),
    "k": ("k", "k"),
}
_COLUMNS = (
    "recall",
    "batches, queries/s",
    "64 callers, queries/s",
    "1 caller, p50 ms",
    "CPU ms: callers",
    "router",
    "all shards",
    "memory, MB",
)
_NOTE = (
    "Batches of 256 come from one caller; CPU is that of a query of 64 callers; memory is resident "
    "in all servers, mapped files included."
)


def grids(figures: dict[str, Any]) -> list[Grid]:
    """Lay out the figures of the section "growth"."""
    found = [_grid(figures[key], *_VARIED[key]) for key in _VARIED]
    return [*found, _callers(figures["callers"]), _alone(figures["shard_alone"])]


def _grid(records: list[dict[str, Any]], key: str, title: str) -> Grid:
    fixed = [name for name in ("rows", "dim", "shards", "k", "ef") if name != key]
    said = ", ".join(f"{name} {records[0][name]:,}" for name in fixed if _same(records, name))
    rows = [_row(record, key) for record in records]
    return Grid(f"Fanlight by {title} ({said})", [title, *_COLUMNS], rows, _NOTE)


def _same(records: list[dict[str, Any]], key: str) -> bool:
    return len({record[key] for record in records}) == 1


def _row(record: dict[str, Any], key: str) -> list[str]:
    return [
        f"{record[key]:,}",
        f"{record['recall']:.4f}",
        rate(record["batch"]["per_second"]),
        rate(record["peak"]["per_second"]),
        milliseconds(record["one_caller"]["p50_ms"]),
        *(milliseconds(cost) for cost in split(record["peak"]["cpu_ms_per_query"]).values()),
        rate(record["servers_memory_mb"]),
    ]


def _callers(records: list[dict[str, Any]]) -> Grid:
    rows = [
        [
            str(record["callers"]),
            rate(record["per_second"]),
            milliseconds(record["p50_ms"]),
            milliseconds(record["p99_ms"]),
            *(milliseconds(cost) for cost in split(record["cpu_ms_per_query"]).values()),
        ]
        for record in records
    ]
    columns = [
        "callers",
        "queries/s",
        "p50 ms",
        "p99 ms",
        "CPU ms: callers",
        "router",
        "all shards",
    ]
    return Grid("Fanlight by callers who wait, single queries", columns, rows)


def _alone(record: dict[str, Any]) -> Grid:
    names = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")
    return Grid(
        "One shard asked directly, at half of its peak: latency in ms",
        ["offered a second", "p50", "p90", "p99", "p99.9", "max", "calls"],
        [
            [
                rate(record["offered_per_second"]),
                *(milliseconds(record[name]) for name in names),
                f"{record['calls']:,}",
            ]
        ],
    )
