"""A progress bar of rows, where stderr is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from fanlight.backups import Progress as Report
from fanlight.cli.show import err


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=err,
        disable=not err.is_terminal,
    )


@contextmanager
def reported(title: str) -> Iterator[Report]:
    """Show a bar, and give what it is told with: rows done, rows in all."""
    with _bar() as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
