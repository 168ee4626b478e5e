"""Read the JSON of bench.py or filters.py: print its tables, and draw its plots.

python benchmarks/report.py FILE.json [--markdown] [--plots FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from tables import filters, goals, growth, ingest, latency, serving
from tables.grid import Grid

# By section; the values are JSON.
_TABLES: dict[str, Callable[[Any], list[Grid]]] = {
    "serving": serving.grids,
    "latency": latency.grids,
    "ingest": ingest.grids,
    "growth": growth.grids,
}


def main() -> None:
    """Print and draw what a file holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--markdown", action="store_true", help="for a document")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw into it")
    arguments = parser.parse_args()
    figures = json.loads(arguments.file.read_text())
    console = Console()
    if arguments.markdown:
        print(markdown(figures))
    else:
        print_tables(figures, console)
    if arguments.plots:
        draw(figures, arguments.plots, console)


def grids(figures: dict[str, Any]) -> list[Grid]:
    """Lay out all tables of a run."""
    sections = figures.get("sections", {})
    others = filters.grids(figures["filters"]) if "filters" in figures else []
    found = [
        grid for name, of in _TABLES.items() if name in sections for grid in of(sections[name])
    ]
    return [*goals.grids(sections), *found, *others]


def origin(figures: dict[str, Any]) -> str:
    """Say in a sentence where, when and with what a run was made."""
    work, versions = figures["workload"], figures["versions"]
    changed = " with uncommitted changes" if figures["uncommitted_changes"] else ""
    command = f" Command: `{figures['command']}`" if "command" in figures else ""
    return (
        f"{work['name']}, {work['rows']:,} x {work['dim']}; {figures['machine']}, Python "
        f"{figures['python']}, {', '.join(f'{n} {v}' for n, v in versions.items())}; commit "
        f"{figures['commit']}{changed}, {figures['started']}; load average before: "
        f"{figures['load_average_before']:.2f}.{command}"
    )


def print_tables(figures: dict[str, Any], console: Console) -> None:
    """Print all tables for a terminal."""
    for grid in grids(figures):
        console.print(grid.rich())


def markdown(figures: dict[str, Any]) -> str:
    """Write all tables for a document."""
    return "\n".join([origin(figures) + "\n", *(grid.markdown() for grid in grids(figures))])


def draw(figures: dict[str, Any], folder: Path, console: Console) -> None:
    """Draw all plots of a run into a folder."""
    if importlib.util.find_spec("matplotlib") is None:
        console.print("no plots: matplotlib is not installed", style="yellow")
        return
    from plots.gallery import draw_all

    for path in draw_all(figures, folder):
        console.print(f"drawn: {path}", style="dim")


if __name__ == "__main__":
    main()
