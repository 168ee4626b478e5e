"""Compares the segment files of a collection with its store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fanlight.errors import Corruption
from fanlight.model import CollectionSpec
from fanlight_server.check.items import Contents, opened
from fanlight_server.check.report import Finding, Found
from fanlight_server.index.segment import Segment
from fanlight_server.index.segment_file import OutdatedSegment

_ROWS = 4_096
_KNOWN = ("items.db", "items.db-wal", "items.db-shm", "segments")


class SegmentsCheck:
    """Checks the segments of one collection and collects what is wrong with them."""

    def __init__(
        self, directory: Path, spec: CollectionSpec, contents: Contents, found: Found
    ) -> None:
        """Check a collection's directory, of whose store `contents` are known."""
        self._directory = directory
        self._spec = spec
        self._contents = contents
        self._found = found
        # by id: the segment that holds its last change
        self._holders: dict[Any, str] = {}
        self._outdated = False
        self.damaged: list[str] = []
        for entry in contents.segments or ():
            self._segment(entry.name, entry.crc)
        if contents.segments is not None:
            self._all_indexed()
        self._strays()

    def _report(self, name: str, problem: str, ids: tuple[Any, ...] = ()) -> None:
        file = f"collections/{self._directory.name}/{name}"
        self._found.findings.append(Finding(file, problem, "rebuild", ids))

    def _segment(self, name: str, crc: int) -> None:
        path = self._directory / "segments" / name
        try:
            segment = Segment(path, self._spec, crc, keep_vectors=False)
        except OutdatedSegment:
            self._outdated = True  # no damage: a start builds it anew
            return
        except Corruption as error:
            self.damaged.append(name)
            self._report(f"segments/{name}", error.message.removeprefix(f"{name}: "))
            return
        wrong = list(self._contradictions(name, segment))
        with suppress(sqlite3.DatabaseError):  # the store's own findings tell of it
            wrong += self._other_vectors(segment)
        if wrong:
            self.damaged.append(name)
            self._report(f"segments/{name}", "contradicts the store", tuple(wrong))

    def _contradictions(self, name: str, segment: Segment) -> Iterator[Any]:
        """List the ids whose row the store does not have or has older, or that are held twice."""
        damaged = set(self._contents.damaged)
        pairs = zip(segment.block.ids.tolist(), segment.block.seqs.tolist(), strict=True)
        for value, seq in pairs:
            if seq < 0 or value in damaged:
                continue
            stored, deleted = self._contents.seqs.get(value, (0, False))
            if stored < seq or (stored == seq and (deleted or value in self._holders)):
                yield value
            elif stored == seq:
                self._holders[value] = name

    def _other_vectors(self, segment: Segment) -> Iterator[Any]:
        """List the ids whose vector is another than in the store."""
        block = segment.block
        with opened(self._directory / "items.db") as db:
            for start in range(0, len(block), _ROWS):
                ids, seqs = block.ids[start : start + _ROWS].tolist(), block.seqs[start:]
                marked = ", ".join("?" * len(ids))
                query = f"SELECT id, seq, vector FROM items WHERE id IN ({marked})"
                stored = {row[0]: row[1:] for row in db.execute(query, ids)}
                for row, value in enumerate(ids):
                    seq, vector = stored.get(value, (None, None))
                    if seq == seqs[row] and vector != block.vectors[start + row].tobytes():
                        yield value

    def _all_indexed(self) -> None:
        """Make sure that every live item is in a segment, or newer than what they promise."""
        entries = self._contents.segments or ()
        promised = min((entry.seq for entry in entries), default=0)
        if self.damaged or self._outdated:
            return  # the others promise nothing now
        left_out = [
            value
            for value, (seq, deleted) in self._contents.seqs.items()
            if not deleted and seq <= promised and value not in self._holders
        ]
        if left_out:
            self.damaged += [entry.name for entry in entries]
            self._report("segments", "hold not all that they promise", tuple(left_out))

    def _strays(self) -> None:
        """List files that belong to nothing, and count those that do."""
        listed = {entry.name for entry in self._contents.segments or ()}
        folder = self._directory / "segments"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in listed:
                self._report(f"segments/{path.name}", "belongs to nothing")
        for path in sorted(self._directory.iterdir()):
            if path.name not in _KNOWN:
                self._report(path.name, "belongs to nothing")
        files = [path for path in self._directory.rglob("*") if path.is_file()]
        self._found.files = len(files)
        self._found.bytes = sum(path.stat().st_size for path in files)
