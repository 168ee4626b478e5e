"""Which plots a run gives."""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from plots import filters, growth, latency, recall
from plots.style import save


def draw_all(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what the sections of a run give.

    Returns:
        The PNG files.
    """
    return [save(figure, folder / f"{name}.png") for name, figure in _figures(figures)]


def _figures(figures: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    sections, work = figures.get("sections", {}), figures["workload"]
    title = f"{work['name']}, {work['rows']:,} x {work['dim']}"
    if "filters" in figures:
        yield "filters", filters.draw(figures["filters"], title)
    if "curve" in sections:
        about = f"{title}, batches of 1,000"
        yield "recall-speed", recall.draw(sections["curve"], about, figures["plan"]["k"])
    if "latency" in sections:
        yield "latency-load", latency.draw_load(sections["latency"]["load"], title)
        if "ingest" in sections["latency"]:
            about = f"{title}: single queries at half of peak"
            yield "latency-ingest", latency.draw_ingest(sections["latency"]["ingest"], about)
    if "growth" in sections:
        found = sections["growth"]
        size = f"{found['shards'][0]['rows']:,} x {found['shards'][0]['dim']}"
        yield "cost-shards", growth.draw_shards(found["shards"], f"{size} over shards")
        yield "cost-growth", growth.draw_rest(found, "What a query costs")
