"""Latency at given loads, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from tables.grid import Grid, milliseconds, rate

_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms", "p999_ms")


def grids(figures: dict[str, Any]) -> list[Grid]:
    """Lay out the figures of the section "latency"."""
    found = [_load(figures["load"])]
    if "ingest" in figures:
        found.append(_ingest(figures["ingest"]))
    return found


def _load(records: Sequence[dict[str, Any]]) -> Grid:
    rows = [
        [
            record["label"],
            f"{record['fraction']:.0%} of {rate(record['peak_per_second'])}",
            rate(record["per_second"]),
            *(milliseconds(record[name]) for name in _PERCENTILES),
            str(sum(record["failed"].values())),
        ]
        for record in records
    ]
    return Grid(
        "Single queries that arrive independently of answers: latency in ms",
        ["", "offered a second", "answered a second", "p50", "p90", "p99", "p99.9", "failed"],
        rows,
        "Latency counts from when a call was due. Peak is the rate of 64 callers who wait.",
    )


def _ingest(records: Sequence[dict[str, Any]]) -> Grid:
    states = {state: [r for r in records if r["state"] == state] for state in _states(records)}
    rows = [[name, *(_median(of, key) for key in _PERCENTILES)] for name, of in states.items()]
    rest, during = states.values()
    ratios = (median(r[key] for r in during) / median(r[key] for r in rest) for key in _PERCENTILES)
    rows.append(["ratio", *(f"{ratio:.2f}" for ratio in ratios)])
    written = median(record["rows_per_second"] for record in during)
    offered = median(record["offered_per_second"] for record in records)
    return Grid(
        f"Fanlight at half of its peak ({rate(offered)} queries/s): latency in ms",
        ["", "p50", "p90", "p99", "p99.9"],
        rows,
        f"Medians of {len(rest)} rounds; meanwhile {rate(written)} rows/s were written.",
    )


def _states(records: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(record["state"] for record in records))


def _median(records: Sequence[dict[str, Any]], key: str) -> str:
    return milliseconds(median(record[key] for record in records))
