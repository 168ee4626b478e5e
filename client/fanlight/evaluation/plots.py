"""Recall and speed as a picture; needs matplotlib."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from fanlight.evaluation.recall import Curve
from fanlight.evaluation.shares import Share

# Colours that stay apart for colour-blind readers (Okabe and Ito, 2008).
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_INK, _GREY = "#333333", "#DDDDDD"


def draw_recall(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw recall against queries per second, a line for each named curve, as PNG or SVG."""
    figure = Figure(figsize=(7.2, 4.4), dpi=150)
    figure.set_layout_engine("constrained")
    panel = figure.add_subplot()
    for place, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        speeds = [point.queries_per_s for point in curve.points]
        recalls = [point.recall for point in curve.points]
        panel.plot(speeds, recalls, color=colour, marker="o", markersize=4, label=name)
        for point in curve.points[:: max(len(curve.points) // 5, 1)]:
            where = (point.queries_per_s, point.recall)
            panel.annotate(
                f"ef {point.ef_search}",
                where,
                xytext=(5, -10),
                textcoords="offset points",
                fontsize=7,
                color=colour,
            )
    k = next(iter(curves.values())).k
    panel.set_xlabel("queries per second (one caller, batches of 256)", color=_INK)
    panel.set_ylabel(f"recall@{k} against exact search", color=_INK)
    _quiet(panel)
    if len(curves) > 1:
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def draw_shares(shares: Sequence[Share], path: Path) -> None:
    """Draw recall, and time, against the share that a filter leaves: a line for each ef_search."""
    figure = Figure(figsize=(9.6, 4.2), dpi=150)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    percents = [100 * share.share for share in shares]
    for place in range(len(shares[0].curve.points)):
        points = [share.curve.points[place] for share in shares]
        colour = _COLOURS[place % len(_COLOURS)]
        style = {"color": colour, "marker": "o", "markersize": 4}
        recalls = [point.recall for point in points]
        spread = [
            [point.recall - point.low for point in points],
            [point.high - point.recall for point in points],
        ]
        left.errorbar(percents, recalls, spread, elinewidth=0.8, **style)
        label = f"ef_search {points[0].ef_search}"
        right.plot(
            percents, [1_000 / point.queries_per_s for point in points], label=label, **style
        )
    exact = [1_000 / share.curve.exact_queries_per_s for share in shares]
    right.plot(percents, exact, color=_INK, linestyle=":", marker="s", markersize=3, label="exact")
    k = shares[0].curve.k
    left.set_ylabel(f"recall@{k} against exact search (bars: 95 %)", color=_INK)
    right.set_ylabel("milliseconds a query (one caller, batches of 256)", color=_INK)
    right.set_yscale("log")
    right.yaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time:g}"))
    right.legend(frameon=False, fontsize=8)
    for panel in (left, right):
        panel.set_xlabel("items that the filter leaves", color=_INK)
        _quiet(panel)
    left.set_xscale("log")
    left.invert_xaxis()
    lowest = min(point.low for share in shares for point in share.curve.points)
    left.set_ylim(min(0.9, lowest - 0.02), 1.005)
    left.xaxis.set_major_formatter(FuncFormatter(lambda percent, _: f"{percent:g} %"))
    left.xaxis.set_minor_formatter(NullFormatter())
    figure.savefig(path)


def _quiet(panel: Axes) -> None:
    panel.grid(True, color=_GREY, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
