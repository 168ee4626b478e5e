"""Read the JSON of bench.py or filters.py: print its tables, and draw its plots.

    python benchmarks/report.py FILE.json [--markdown] [--plots FOLDER] [--fill DOCUMENT.md]

A document is filled between `<!-- bench WORKLOAD SECTION -->` and the next `<!-- end -->`, where
the workload is the file's and the section is one of its sections, "goals", "paper" or "origin".
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from paper import PAPER, Scale
from paper import grids as paper_grids
from tables import filters, goals, growth, ingest, latency, serving
from tables.grid import Grid

# By section; the values are JSON.
_TABLES: dict[str, Callable[[Any], list[Grid]]] = {
    "kernel": serving.kernel_grids,
    "serving": serving.grids,
    "latency": latency.grids,
    "ingest": ingest.grids,
    "growth": growth.grids,
    "filters": filters.grids,
}
_PLACE = re.compile(r"(<!-- bench (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Print, draw and fill in what a file holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print tables for a document")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw into it")
    parser.add_argument("--fill", type=Path, metavar="DOCUMENT", help="put tables into it")
    arguments = parser.parse_args()
    figures = json.loads(arguments.file.read_text())
    console = Console()
    if arguments.markdown:
        print("\n".join(texts(figures).values()))
    elif not arguments.fill:
        print_tables(figures, console)
    if arguments.plots:
        draw(figures, arguments.plots, console)
    if arguments.fill:
        arguments.fill.write_text(filled(arguments.fill.read_text(), figures))


def grids(figures: dict[str, Any]) -> dict[str, list[Grid]]:
    """Lay out all tables of a run, by section."""
    sections = dict(figures.get("sections", {}))
    if "filters" in figures:
        sections["filters"] = figures["filters"]
    found = {"goals": goals.grids(sections)}
    found |= {name: of(sections[name]) for name, of in _TABLES.items() if name in sections}
    if "growth" in sections:
        found["paper"] = paper_grids(sections["growth"], Scale(*PAPER))
    return {name: of for name, of in found.items() if of}


def texts(figures: dict[str, Any]) -> dict[str, str]:
    """Write all tables of a run as Markdown, by section, and where it was made."""
    found = {name: "\n".join(grid.markdown() for grid in of) for name, of in grids(figures).items()}
    return {"origin": _origin(figures) + "\n", **found}


def filled(document: str, figures: dict[str, Any]) -> str:
    """Put the tables of a run where a document has places for them."""
    found = texts(figures)

    def fill(place: re.Match[str]) -> str:
        before, workload, section, after = place.groups()
        if workload != figures["workload"]["name"] or section not in found:
            return place[0]
        return f"{before}{found[section]}{after}"

    return _PLACE.sub(fill, document)


def _origin(figures: dict[str, Any]) -> str:
    """Say where, when and with what a run was made."""
    work, versions = figures["workload"], figures["versions"]
    changed = " with uncommitted changes" if figures["uncommitted_changes"] else ""
    command = f"`{figures['command']}`: " if "command" in figures else ""
    return (
        f"{command}{work['name']}, {work['rows']:,} x {work['dim']}; {figures['machine']}, "
        f"Python {figures['python']}, {', '.join(f'{n} {v}' for n, v in versions.items())}; "
        f"commit {figures['commit']}{changed}; {figures['started']}; load average before: "
        f"{figures['load_average_before']:.2f}."
    )


def print_tables(figures: dict[str, Any], console: Console) -> None:
    """Print all tables for a terminal."""
    for of in grids(figures).values():
        for grid in of:
            console.print(grid.rich())


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
