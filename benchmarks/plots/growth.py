"""How cost grows."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plots.style import BLUE, GREEN, INK, ORANGE, line, log_axis, number, page, title
from tables.serving import split

_PARTS = {"callers": BLUE, "router": GREEN, "shards": ORANGE}
_NAMES = {"callers": "callers", "router": "router", "shards": "all shards"}


def draw_shards(records: list[dict[str, Any]], about: str) -> Figure:
    """Draw what a query costs, and how long it takes, against the number of shards."""
    figure, (cost, speed) = page(columns=2)
    xs = [record["shards"] for record in records]
    _cpu(cost, xs, [record["peak"]["cpu_ms_per_query"] for record in records])
    _axes(cost, xs, "shards", "CPU ms a query")
    title(cost, f"{about}: 64 callers")
    for key, label, colour in (("p50_ms", "p50", INK), ("p99_ms", "p99", ORANGE)):
        line(speed, xs, [record["one_caller"][key] for record in records], label, colour)
    _axes(speed, xs, "shards", "latency, ms")
    title(speed, "One caller")
    return figure


def draw_rest(figures: dict[str, Any], about: str) -> Figure:
    """Draw what a query costs against items, dimensions, k and callers."""
    figure, panels = page(columns=2, rows=2)
    for panel, (name, key, label) in zip(
        panels,
        (("items", "rows", "items"), ("dims", "dim", "dimensions"), ("k", "k", "k")),
        strict=False,
    ):
        records = figures[name]
        xs = [record[key] for record in records]
        _cpu(panel, xs, [record["peak"]["cpu_ms_per_query"] for record in records])
        _axes(panel, xs, label, "CPU ms a query, 64 callers")
    xs = [record["callers"] for record in figures["callers"]]
    _cpu(panels[3], xs, [record["cpu_ms_per_query"] for record in figures["callers"]])
    _axes(panels[3], xs, "callers", "CPU ms a query")
    title(panels[0], about)
    return figure


def _cpu(panel: Axes, xs: Sequence[float], costs: Sequence[dict[str, float]]) -> None:
    parts = [split(cost) for cost in costs]
    for name, colour in _PARTS.items():
        line(panel, xs, [part[name] for part in parts], _NAMES[name], colour)


def _axes(panel: Axes, xs: Sequence[float], x: str, y: str) -> None:
    panel.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    log_axis(panel.xaxis, number, xs)
    log_axis(panel.yaxis, number)
