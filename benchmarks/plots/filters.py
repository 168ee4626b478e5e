"""What a filter costs and finds, against the share of rows that it allows."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plots.style import BLUE, GREEN, INK, ORANGE, line, log_axis, number, page, title

_KINDS = {"random": ORANGE, "near": BLUE, "far": GREEN}
_NAMES = {
    "random": "anywhere",
    "near": "near the queries",
    "far": "far from the queries",
}
# The project's bars: at most twice the time of the search without a filter, and this recall.
_MOST_TIMES, _LEAST_RECALL = 2.0, 0.95


def draw(records: list[dict[str, Any]], about: str) -> Figure:
    """Draw the records that filters.py writes: one a kind of filter and share."""
    figure, (single, batch, recall) = page(columns=3)
    for kind in dict.fromkeys(record["kind"] for record in records):
        rows = sorted((r for r in records if r["kind"] == kind), key=lambda r: -r["share"])
        for panel, key in ((single, "times"), (batch, "batch_times"), (recall, "recall")):
            xs, ys = [r["share"] for r in rows], [r[key] for r in rows]
            line(panel, xs, ys, _NAMES[kind], _KINDS[kind])
    for panel in (single, batch):
        panel.set(yscale="log", ylabel="time, to the same search without a filter")
        log_axis(panel.yaxis, number)
        _bar(panel, _MOST_TIMES, "at most")
    recall.set(ylabel="recall")
    lowest = min(record["recall"] for record in records)
    recall.set_ylim(min(lowest, _LEAST_RECALL) - 0.005, 1.002)
    _bar(recall, _LEAST_RECALL, "at least")
    for panel in (single, batch, recall):
        panel.set(xscale="log", xlabel="share of rows allowed")
        panel.invert_xaxis()
        log_axis(panel.xaxis, lambda share: f"{100 * share:g} %", (1, 0.1, 0.01, 0.001, 0.0001))
    title(single, f"{about}: one query a call")
    title(batch, "A hundred queries a call")
    title(recall, "Recall")
    return figure


def _bar(panel: Axes, height: float, word: str) -> None:
    panel.axhline(height, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="_")
    panel.annotate(
        f"{word} {height:g}",
        (0, height),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        fontsize=8.5,
        color=INK,
    )
