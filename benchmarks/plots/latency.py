"""Latency against load, and during ingest."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plots.style import BLUE, COLOURS, ORANGE, SHADES, line, log_axis, number, page, title

_PERCENTILES = (("p50_ms", "p50"), ("p90_ms", "p90"), ("p99_ms", "p99"), ("p999_ms", "p99.9"))
# Where the axis of percentiles ends; 1 - share is what it is logarithmic in.
_SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001, 0.00001)


def draw_load(records: list[dict[str, Any]], about: str) -> Figure:
    """Draw percentiles of ours against load, and the p99 of all beside them."""
    ours = [record for record in records if record["engine"] == "fanlight"]
    figure, panels = page(columns=2 if ours else 1)
    if ours:
        _percentiles(panels[0], ours)
        title(panels[0], f"{about}: Fanlight")
    panel = panels[-1]
    for engine in dict.fromkeys(record["engine"] for record in records):
        rows = [record for record in records if record["engine"] == engine]
        xs = [record["offered_per_second"] for record in rows]
        strong = engine == "fanlight"
        line(
            panel, xs, [r["p99_ms"] for r in rows], rows[0]["label"], COLOURS[engine], strong=strong
        )
    panel.set(xscale="log", yscale="log", xlabel="queries offered a second", ylabel="p99, ms")
    log_axis(panel.xaxis, number)
    log_axis(panel.yaxis, number)
    title(panel, "p99 beside other servers, and a library in process")
    return figure


def _percentiles(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    xs = [record["offered_per_second"] for record in rows]
    for (key, label), colour in zip(_PERCENTILES, SHADES, strict=True):
        line(panel, xs, [record[key] for record in rows], label, colour, strong=key == "p99_ms")
    panel.set(yscale="log", xlabel="queries offered a second", ylabel="latency, ms")
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(lambda value, _: number(value))
    log_axis(panel.yaxis, number)


def draw_ingest(records: list[dict[str, Any]], about: str) -> Figure:
    """Draw all percentiles at rest and during ingest, one thin line a round."""
    figure, (panel,) = page()
    for state, colour in (("at rest", BLUE), ("during ingest", ORANGE)):
        rounds = [record for record in records if record["state"] == state]
        for number_of, record in enumerate(rounds):
            xs, ys = _tail(record["percentiles"])
            # The first line of a state carries its name.
            label = "_" if number_of else state
            panel.plot(xs, ys, color=colour, linewidth=1.4, alpha=0.8, label=label)
    panel.set(xscale="log", yscale="log", xlabel="percentile", ylabel="latency, ms")
    panel.set_xlim(1, _least(records))
    ticks = [share for share in _SHARES if share >= _least(records)]
    log_axis(panel.xaxis, lambda share: f"{100 * (1 - share):g}", ticks)
    log_axis(panel.yaxis, number)
    title(panel, about)
    return figure


def _tail(percentiles: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    inner = [(1 - share / 100, ms) for share, ms in percentiles if share < 100]
    xs, ys = np.array(inner).T
    return xs.tolist(), ys.tolist()


def _least(records: list[dict[str, Any]]) -> float:
    return float(min(_tail(record["percentiles"])[0][-1] for record in records))
