"""Recall and speed as a picture; needs matplotlib."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from fanlight.evaluation.recall import Curve

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
    panel.grid(True, color=_GREY, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(path)
