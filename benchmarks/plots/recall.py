"""Recall against queries a second."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from plots.style import COLOURS, line, log_axis, number, page, title

# The share of neighbours missed is what ef buys off, so the axis is logarithmic in that.
_TICKS = (0.5, 0.2, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0005)


def draw(records: list[dict[str, Any]], about: str, k: int) -> Figure:
    """Draw the records of the section "curve".

    A recall of 1 has no place on the axis; of an engine's points with it the fastest is drawn
    at the right edge.
    """
    figure, (panel,) = page()
    least = 0.8 * min((1 - r["recall"] for r in records if r["recall"] < 1), default=0.01)
    engines = dict.fromkeys(record["engine"] for record in records)
    for engine in sorted(engines, key=lambda name: name == "fanlight"):
        points = _points([r for r in records if r["engine"] == engine], least)
        label = next(r["label"] for r in records if r["engine"] == engine)
        line(panel, *points, label, COLOURS[engine], strong=engine == "fanlight")
    panel.set(xscale="log", yscale="log", xlabel=f"recall@{k}", ylabel="queries a second")
    widest = max(1 - record["recall"] for record in records)
    panel.set_xlim(max(1.3 * widest, 2 * least), least)
    log_axis(
        panel.xaxis,
        lambda missed: f"{1 - missed:.4g}",
        [t for t in _TICKS if least <= t <= 1.3 * widest],
    )
    log_axis(panel.yaxis, number)
    title(panel, about)
    return figure


def _points(records: list[dict[str, Any]], least: float) -> tuple[list[float], list[float]]:
    perfect = [r["per_second"] for r in records if r["recall"] == 1]
    found = [(1 - r["recall"], r["per_second"]) for r in records if r["recall"] < 1]
    if perfect:
        found.append((least, max(perfect)))
    xs, ys = zip(*sorted(found, reverse=True), strict=True)
    return list(xs), list(ys)
