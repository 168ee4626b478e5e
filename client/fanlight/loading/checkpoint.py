"""How far a load came, so that another one can go on where it broke off."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A small file beside what is loaded; it goes when the load is done.

    Attributes:
        path: the file.
        file: what is loaded; when it changes, what was said of it means nothing.
        collection: where to.
    """

    path: Path
    file: Path
    collection: str

    def rows_done(self) -> int:
        """Tell how many rows from the beginning were acknowledged or quarantined; 0 for none."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0
        rows = found.pop("rows", 0) if isinstance(found, dict) else 0
        return rows if found == self._subject() else 0

    def advance(self, rows: int) -> None:
        """Say that the first `rows` rows are done; a crash leaves the old figure or this one."""
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        part.write_text(json.dumps({**self._subject(), "rows": rows}), encoding="utf-8")
        part.replace(self.path)

    def clear(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)

    def _subject(self) -> dict[str, object]:
        stat = self.file.stat()
        return {
            "collection": self.collection,
            "bytes": stat.st_size,
            "modified_ns": stat.st_mtime_ns,
        }
