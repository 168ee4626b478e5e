"""Speed at equal recall, as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contenders.registry import OURS
from tables.grid import Grid, milliseconds, rate

Records = list[dict[str, Any]]
_SIDE_BY_SIDE = (
    "Queries a second, and the ratio to the first column",
    "In process, more callers than cores are as many threads as cores, and a batch has one "
    "caller and uses all cores.",
)
_ALONE = (
    "Queries a second on one thread, and the ratio to hnswlib",
    "In process, each with one graph that it built itself.",
)


def grids(records: Records) -> list[Grid]:
    """Lay out the records of the section "serving"."""
    return [_rates(records, _SIDE_BY_SIDE), _latencies(records), *_costs(records)]


def kernel_grids(records: Records) -> list[Grid]:
    """Lay out the records of the section "kernel"."""
    return [_rates(records, _ALONE)] if records else []


def _by_engine(records: Records) -> dict[str, dict[str, dict[str, Any]]]:
    engines: dict[str, dict[str, dict[str, Any]]] = {}
    for record in records:
        engines.setdefault(record["engine"], {})[record["shape"]] = record
    return engines


def _shapes(records: Records, only: Iterable[int] | None = None) -> list[str]:
    kept = [r for r in records if only is None or r["rows"] in only]
    return list(dict.fromkeys(record["shape"] for record in kept))


def _rates(records: Records, said: tuple[str, str]) -> Grid:
    engines = _by_engine(records)
    first = {name: next(iter(shapes.values())) for name, shapes in engines.items()}
    rows = [
        ["ef", *(str(record["ef"]) for record in first.values())],
        ["recall", *(f"{record['recall']:.4f}" for record in first.values())],
    ]
    for shape in _shapes(records):
        yardstick = next(iter(engines.values()))[shape]["per_second"]
        rows.append([shape, *(_ratio(e[shape]["per_second"], yardstick) for e in engines.values())])
    return Grid(
        said[0],
        ["", *(record["label"] for record in first.values())],
        rows,
        said[1],
    )


def _ratio(value: float, yardstick: float) -> str:
    return f"{rate(value)} ({value / yardstick:.2f})"


def _latencies(records: Records) -> Grid:
    engines = _by_engine(records)
    rows = []
    for shape in _shapes(records, only=(1,)):
        found = (shapes[shape] for shapes in engines.values())
        rows.append(
            [shape, *(f"{milliseconds(r['p50_ms'])} / {milliseconds(r['p99_ms'])}" for r in found)]
        )
    labels = (next(iter(shapes.values()))["label"] for shapes in engines.values())
    return Grid("Single queries, callers who wait: p50 / p99 in ms", ["", *labels], rows)


def _costs(records: Records) -> list[Grid]:
    """Lay out where the CPU time of our queries goes."""
    ours = _by_engine(records).get(OURS)
    if ours is None:
        return []
    rows = []
    for shape, record in ours.items():
        cost = split(record["cpu_ms_per_query"])
        rows.append([shape, *(milliseconds(part) for part in (*cost.values(), sum(cost.values())))])
    columns = ["", "callers", "router", "all shards", "together"]
    return [Grid("Fanlight: CPU ms that a query costs each process", columns, rows)]


def split(cost: dict[str, float]) -> dict[str, float]:
    """Split the CPU time of a query into that of callers, router and all shards."""
    shards = sum(value for name, value in cost.items() if name.startswith("shard-"))
    return {
        "callers": cost["callers"],
        "router": cost.get("router", 0.0),
        "shards": shards,
    }
