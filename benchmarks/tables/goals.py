"""What the project set out to show, beside what a run measured."""

from __future__ import annotations

from statistics import median
from typing import Any

from contenders.registry import BASELINE, OURS
from tables.grid import Grid, milliseconds, rate

Row = tuple[str, str, str]


def grids(sections: dict[str, Any]) -> list[Grid]:
    """Lay out the goals that the sections of a run can answer."""
    rows = [
        *(_kernel(sections["kernel"]) if "kernel" in sections else []),
        *(_serving(sections["serving"]) if "serving" in sections else []),
        *(_latency(sections["latency"]) if "latency" in sections else []),
        *(_ingest(sections["ingest"]) if "ingest" in sections else []),
    ]
    return [Grid("Goals", ["", "goal", "measured"], rows)] if rows else []


def _kernel(records: list[dict[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    for shape in dict.fromkeys(record["shape"] for record in records):
        theirs, ours = (record for record in records if record["shape"] == shape)
        ratio = ours["per_second"] / theirs["per_second"]
        told = f"{ratio:.2f}, recall {ours['recall']:.4f} to {theirs['recall']:.4f}"
        name = f"the kernel to hnswlib, one thread, {shape}"
        rows.append((name, "≥ 2.5 (≥ 1.8 at 128 dimensions)", told))
    return rows


def _serving(records: list[dict[str, Any]]) -> list[Row]:
    def of(engine: str, callers: int, size: int) -> dict[str, Any] | None:
        wanted = (engine, callers, size)
        found = (r for r in records if (r["engine"], r["callers"], r["rows"]) == wanted)
        return next(found, None)

    rows: list[Row] = []
    batch, yardstick = of(OURS, 1, 1_000), of(BASELINE, 1, 1_000)
    if batch and yardstick:
        ratio = batch["per_second"] / yardstick["per_second"]
        told = f"{ratio:.2f}, recall {batch['recall']:.4f} to {yardstick['recall']:.4f}"
        rows.append(("batches of 1,000 to hnswlib over the same partitions", "≥ 1.5", told))
    if one := of(OURS, 1, 1):
        rows.append(("p50 of one caller", "≤ 1.2 ms", f"{milliseconds(one['p50_ms'])} ms"))
    if many := of(OURS, 64, 1):
        rows.append(("queries/s of 64 callers", "≥ 4,000", rate(many["per_second"])))
    return rows


def _latency(figures: dict[str, Any]) -> list[Row]:
    if "ingest" not in figures:
        return []
    rest = [r["p99_ms"] for r in figures["ingest"] if r["state"] == "at rest"]
    during = [r["p99_ms"] for r in figures["ingest"] if r["state"] != "at rest"]
    ratio = median(during) / median(rest)
    return [("p99 during ingest to p99 at rest, at half of peak", "≤ 2", f"{ratio:.2f}")]


def _ingest(records: list[dict[str, Any]]) -> list[Row]:
    def indexed(engine: str) -> float | None:
        rates = [r["indexed_per_second"] for r in records if r["engine"] == engine]
        return median(rates) if rates else None

    ours, bare = indexed(OURS), indexed("hnswlib")
    if ours is None or bare is None:
        return []
    return [("rows/s to indexed, to hnswlib.add_items", "≥ 0.9", f"{ours / bare:.2f}")]
