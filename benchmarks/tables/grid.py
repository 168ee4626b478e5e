"""A table as text, for a terminal or for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    Attributes:
        title: what it shows, with units.
        columns: their names; the first is the rows' own.
        rows: as many cells as columns each.
        note: what a reader must know besides; "" for nothing.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def rich(self) -> Table:
        """Lay it out for a terminal."""
        table = Table(title=self.title, caption=self.note or None, title_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="right" if place else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Write it as Markdown."""
        lines = [
            f"**{self.title}**",
            "",
            _line(self.columns),
            _line(["---", *("---:" for _ in self.columns[1:])]),
            *(_line(row) for row in self.rows),
        ]
        return "\n".join([*lines, "", self.note] if self.note else lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def rate(value: float) -> str:
    """Write a number of queries or rows a second."""
    return f"{value:,.0f}"


def milliseconds(value: float) -> str:
    """Write a time in ms with three significant digits."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
