"""How all plots look: few lines, named where they end, on quiet axes."""

# pyright: reportMissingImports=false
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import offset_copy

# Colours that stay apart for colour-blind readers (Okabe and Ito, 2008); ours is the strongest.
COLOURS = {
    "fanlight": "#D55E00",
    "hnswlib-partitions": "#000000",
    "hnswlib": "#7F7F7F",
    "kernel": "#F0A07A",
    "faiss": "#56B4E9",
    "qdrant-edge": "#CC79A7",
    "chromadb": "#009E73",
    "milvus-lite": "#E69F00",
}
# From p50 to p99.9 of one engine: darker is rarer.
SHADES = ("#FDAE6B", "#F16913", "#D94801", "#7F2704")
BLUE, GREEN, ORANGE = "#0072B2", "#009E73", "#D55E00"
GREY, INK = "#DDDDDD", "#333333"
_DPI = 150
# Names closer than this, in points, are pushed apart.
_NAME_GAP = 12.0
_NAME_WIDTH = 90.0


def page(columns: int = 1, rows: int = 1, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels from left to right, top to bottom."""
    figure = Figure(figsize=(7.2 if columns == 1 else 5.4 * columns, height * rows), dpi=_DPI)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.12)
    panels = [figure.add_subplot(rows, columns, n + 1) for n in range(rows * columns)]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(True, which="major", color=GREY, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.margins(x=0.06, y=0.1)
    return figure, panels


def line(
    panel: Axes,
    xs: Sequence[float],
    ys: Sequence[float],
    label: str,
    colour: str,
    strong: bool = False,
) -> None:
    """Draw a line whose name `save` writes at its end."""
    width, size = (2.4, 6) if strong else (1.4, 4)
    drawn = panel.plot(xs, ys, color=colour, linewidth=width, marker="o", markersize=size)
    drawn[0].set(label=label, zorder=3 if strong else 2)


def log_axis(
    axis: Axis, form: Callable[[float], str], ticks: Sequence[float] | None = None
) -> None:
    """Label a logarithmic axis with plain numbers, once its lines are drawn.

    Args:
        axis: panel.xaxis or panel.yaxis, its scale set.
        form: writes a number.
        ticks: where; None for as many as the range has room for.
    """
    if ticks is not None:
        axis.set_ticks(list(ticks))
    else:
        low, high = sorted(axis.get_view_interval())
        decades = math.log10(high / low)
        subs = (1, 1.5, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2.5 else (1,)
        # Within less than half a decade such ticks would be too few.
        axis.set_major_locator(LogLocator(subs=subs) if decades > 0.5 else MaxNLocator(5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_formatter(NullFormatter())


def number(value: float) -> str:
    """Write a number as people do: 0.5, 20, 4,000."""
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def title(panel: Axes, text: str) -> None:
    """Say above a panel what it shows."""
    panel.set_title(text, loc="left", fontsize=10.5, color=INK, pad=10)


def save(figure: Figure, path: Path) -> Path:
    """Name the lines and write a PNG."""
    # Where lines end is known once the layout is.
    figure.draw_without_rendering()
    for panel in figure.axes:
        _name_lines(figure, panel)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    return path


def _name_lines(figure: Figure, panel: Axes) -> None:
    named = [drawn for drawn in panel.get_lines() if not str(drawn.get_label()).startswith("_")]
    points = 72 / _DPI
    lasts = [np.asarray(drawn.get_xydata(), float)[-1] for drawn in named]
    ends = [panel.transData.transform(last) * points for last in lasts]
    for drawn, last, end, y in zip(named, lasts, ends, _apart(ends), strict=True):
        place = offset_copy(panel.transData, figure, 7, y - end[1], units="points")
        panel.text(
            last[0],
            last[1],
            str(drawn.get_label()),
            transform=place,
            color=drawn.get_color(),
            va="center_baseline",
            fontsize=9,
            fontweight="bold" if drawn.get_linewidth() > 2 else "normal",
        )


def _apart(ends: Sequence[Iterable[float]]) -> list[float]:
    """Move names that would cover each other upwards, as little as needed; all in points."""
    placed: dict[int, tuple[float, float]] = {}
    for at in sorted(range(len(ends)), key=lambda i: list(ends[i])[1]):
        x, y = ends[at]
        for other_x, other_y in sorted(placed.values(), key=lambda place: place[1]):
            if abs(x - other_x) < _NAME_WIDTH and abs(y - other_y) < _NAME_GAP:
                y = other_y + _NAME_GAP
        placed[at] = (x, y)
    return [placed[at][1] for at in range(len(ends))]
