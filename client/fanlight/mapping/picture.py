"""A map as a picture; needs matplotlib."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Colours that stay apart for colour-blind readers (Okabe and Ito, 2008), and grey for the rest.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#8C510A", "#542788", "#1B7837", "#B2182B"),
)
_REST = "#BBBBBB"


def draw(
    path: Path,
    places: NDArray[np.float32],
    *,
    title: str,
    groups: Sequence[Any] | None = None,
    labels: Sequence[str | None] = (),
) -> None:
    """Draw items at their places, as PNG or SVG.

    Args:
        path: the file.
        places: (n, 2).
        title: stands above.
        groups: n values that give the colour; the ten most frequent have one each, the others
            are grey.
        labels: n texts; None for no text.
    """
    figure = Figure(figsize=(10, 8), dpi=150)
    figure.set_layout_engine("constrained")
    panel = figure.add_subplot()
    size = float(np.clip(6_000 / max(len(places), 1), 3, 40))
    if groups is None:
        panel.scatter(places[:, 0], places[:, 1], s=size, color=_COLOURS[0], linewidths=0)
    else:
        _coloured(panel, places, [str(value) for value in groups], size)
        panel.legend(
            frameon=False, fontsize=8, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    for place, text in zip(places.tolist(), labels, strict=False):
        if text is not None:
            panel.annotate(text, place, fontsize=6, xytext=(3, 2), textcoords="offset points")
    panel.set_title(title, fontsize=10, loc="left")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    figure.savefig(path)


def _coloured(panel: Axes, places: NDArray[np.float32], groups: list[str], size: float) -> None:
    named = [value for value, _ in Counter(groups).most_common(len(_COLOURS))]
    values = np.array(groups, dtype=object)
    rest = ~np.isin(values, named)
    if rest.any():
        where = places[rest]
        panel.scatter(where[:, 0], where[:, 1], s=size, color=_REST, linewidths=0, label="others")
    for value, colour in zip(named, _COLOURS, strict=False):
        where = places[values == value]
        panel.scatter(where[:, 0], where[:, 1], s=size, color=colour, linewidths=0, label=value)
