"""Where the rows that were not loaded wait: a file of JSON Lines, each row with its reason."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from fanlight.loading.rows import Fault


class Quarantine:
    """Writes rows to a file, which is made when the first one comes.

    A row is {"row": 7, "kind": "zero", "reason": "...", "id": ..., "vector": [...]}, or with
    "line" where it could not be read. Mended, its lines can be loaded as they stand.

    Attributes:
        path: the file.
        rows: how many it holds.
    """

    def __init__(self, path: Path, before: int = 0) -> None:
        """Take a path.

        Args:
            path: the file; of what an earlier load left there, some is kept.
            before: rows of the loaded file whose lines stay: those that a resumed load skips.
        """
        self.path = path
        kept = _lines_before(path, before)
        self.rows = len(kept)
        if kept:
            path.write_text("".join(kept), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)

    def add(self, faults: Iterable[Fault]) -> None:
        """Append rows; the operating system has them when this returns."""
        lines = [_line(fault) for fault in faults]
        if lines:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        self.rows += len(lines)


def _lines_before(path: Path, row: int) -> list[str]:
    if not row or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n") and json.loads(line)["row"] < row]


def _line(fault: Fault) -> str:
    row = {"row": fault.row, "kind": fault.kind.value, "reason": str(fault.error)}
    return json.dumps(row | fault.content, ensure_ascii=False, default=str) + "\n"
