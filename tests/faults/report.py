"""What `make torture` leaves behind: a table for people, a file for programs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tests.faults.odds import upper_bound
from tests.faults.outcome import Outcome

from fanlight.wire.program import VERSION

ROOT = Path(__file__).resolve().parents[2]
_MARK = "<!-- torture -->"

_COLUMNS = (
    "fault", "trials", "acknowledged", "lost", "stale", "phantom", "duplicate", "wrong",
    "crashes", "recovery, median / max", "chance of a failure, at most", "positive control",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one fault's turn.

    Attributes:
        name: of the fault.
        seconds: that it took.
        outcome: what it found; None when it could not be carried out.
        error: why not.
    """

    name: str
    seconds: float
    outcome: Outcome | None = None
    error: str = ""

    @property
    def failed(self) -> bool:
        """Tell whether something happened that must not, or nothing could be tried."""
        return self.outcome is None or self.outcome.failures > 0 or self.outcome.trials == 0


def table(results: Sequence[Result]) -> str:
    """Write the results as a table in Markdown, its columns aligned."""
    rows = [_COLUMNS, *map(_cells, results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    ruler = tuple("-" * width for width in widths)
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (rows[0], ruler, *rows[1:])
    ]
    return "\n".join(lines)


def _cells(result: Result) -> tuple[str, ...]:
    if (outcome := result.outcome) is None:
        blank = [""] * (len(_COLUMNS) - 2)
        return (result.name, *blank, _one_line(f"NOT CARRIED OUT: {result.error}"))
    counts = [outcome.trials, outcome.acknowledged, outcome.lost, outcome.stale, outcome.phantom]
    counts += [outcome.duplicate, outcome.wrong, outcome.crashes]
    recovery = outcome.recovery_s
    return (
        outcome.fault,
        *(f"{count:,}" for count in counts),
        "" if recovery is None else f"{recovery[0]:.2f} s / {recovery[1]:.2f} s",
        _percent(upper_bound(min(outcome.failures, outcome.trials), outcome.trials)),
        _one_line(outcome.control),
    )


def _percent(share: float) -> str:
    """Write a bound with two digits that say something, never below it."""
    digits = 1 - math.floor(math.log10(100 * share))
    return f"{math.ceil(100 * share * 10**digits) / 10**digits:.{max(0, digits)}f}%"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def notes(results: Sequence[Result]) -> str:
    """Write what the faults had to say besides, a line each."""
    told = [r.outcome for r in results if r.outcome is not None and r.outcome.notes]
    return "\n".join(f"- {outcome.fault}: {_one_line(outcome.notes)}" for outcome in told)


def write_json(path: Path, results: Sequence[Result], run: dict[str, Any]) -> None:
    """Write all figures, with the machine and the commit that they belong to."""
    found = []
    for result in results:
        figures = {"name": result.name, "seconds": round(result.seconds, 1), "error": result.error}
        if (outcome := result.outcome) is not None:
            bound = upper_bound(min(outcome.failures, outcome.trials), outcome.trials)
            figures |= dataclasses.asdict(outcome) | {"chance_of_failure_at_most": bound}
        found.append(figures | {"failed": result.failed})
    report = {"run": run, "machine": machine(), "commit": commit(), "faults": found}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def into_page(path: Path, text: str) -> None:
    """Put a text between the two marks of a page.

    Raises:
        ValueError: the page has not two marks.
    """
    page = path.read_text(encoding="utf-8")
    if page.count(_MARK) != 2:
        raise ValueError(f"{path}: expected {_MARK} twice, got it {page.count(_MARK)} times")
    before, _, after = page.split(_MARK)
    path.write_text(f"{before}{_MARK}\n{text}\n{_MARK}{after}", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Describe the machine, as far as figures depend on it."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "fanlight": VERSION,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def commit() -> str:
    """Name the commit that is tested; "+" when files differ from it."""
    try:
        said = [
            subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True)
            for args in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said[0].stdout.strip() + ("+" if said[1].stdout.strip() else "")
