"""Keeps the segment files of one collection: recovers, seals, builds and publishes them.

Laws: the list of segments in the store is the truth; a file that is not in it is waste. The
order of a publication is: file durable, list durable, view swapped, old files removed. Called
by one thread at a time (first the one that opens the collection, then the shard's builder),
except where a method says otherwise.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.errors import Corruption, NotReady, Overloaded
from fanlight.fields import FieldValues
from fanlight.model import CollectionSpec, Rows
from fanlight_server.field_reader import FieldReader, values_of
from fanlight_server.index.effort import BuildStopped
from fanlight_server.index.index import Build, Built, Index
from fanlight_server.index.segment import Segment
from fanlight_server.index.segment_file import OutdatedSegment
from fanlight_server.index.settings import IndexConfig
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Log, SegmentEntry

_log = logging.getLogger(__name__)

# Rows read from the store at a time during recovery.
_RECOVERY_ROWS = 4_096


class SegmentKeeper:
    """See the module."""

    def __init__(
        self,
        index: Index,
        store: Store,
        directory: Path,
        spec: CollectionSpec,
        config: IndexConfig,
        disk: Disk,
    ) -> None:
        """Take charge of a directory of segments; call `recover` before anything else."""
        # constant after construction
        self._index = index
        self._store = store
        self._directory = directory
        self._spec = spec
        self._config = config
        self._disk = disk
        # own synchronisation
        self._stopped = threading.Event()
        # held while a segment is built
        self._building = threading.Lock()
        # used by one thread at a time
        self._next_number = 1
        self._seq_last_seen = -1
        # set by the builder, read by all threads
        self._fault: str | None = None
        # bytes that a segment needs for which rows wait; 0 when there is room or none waits
        self._wanted = 0
        # used by the builder: bytes free when a segment did not fit after all
        self._too_little = -1
        # whether it was said that new fields wait for room
        self._fields_wait = False

    # --- any thread ---------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Refuse a write that the disk cannot take, or whose rows would pile up without a graph.

        Raises:
            NotReady: the disk or the builder failed; says which.
            Overloaded: the disk is full, or has no room for the segment that is due.
        """
        self._disk.check_writable()
        if self._is_held():
            raise self._disk.no_room("segment", self._wanted)
        if self._fault is not None:
            raise NotReady(self._fault, retry_after_s=10.0)

    def wait_for_room(self) -> int:
        """Wait until the builder has caught up enough to take more rows; tell how many bytes.

        Nobody waits for a builder that cannot go on.
        """
        return self._index.wait_for_room(
            lambda: (
                self._stopped.is_set()
                or self._fault is not None
                or self._is_held()
                or self._disk.refusal is not None
            )
        )

    def _is_held(self) -> bool:
        """Tell whether the builder waits for room on the disk."""
        return self._wanted > 0 and self._disk.room() < self._wanted

    def fail(self, reason: str) -> None:
        """Refuse writes from now on; searches go on."""
        self._fault = reason
        self._index.wake()

    def mend(self) -> None:
        """Take writes again."""
        self._fault = None

    def stop(self) -> None:
        """Abandon a build under way, start no other, and return when none is under way."""
        self._stopped.set()
        self._index.wake()
        with self._building:
            pass

    @property
    def unindexed_bytes(self) -> int:
        """Tell how many bytes of vectors wait for a graph."""
        return self._index.view.unindexed * 4 * self._spec.dim

    # --- recovery -----------------------------------------------------------------------------

    def recover(self) -> None:
        """Load the segments and put what no segment holds into the head.

        Raises:
            Corruption: the store is damaged. (A segment that is damaged or of an older format is
                dropped with a line in the log, and its items are indexed again.)
        """
        listed = self._store.segments()
        opened = [segment for entry in listed if (segment := self._open(entry)) is not None]
        if len(opened) < len(listed):
            listed = self._relist(listed, opened)
        self._remove_unlisted({entry.name for entry in listed})
        log = self._store.log_after(min((entry.seq for entry in listed), default=0))
        self._confirm_deletions(log)
        segments, indexed = self._match(opened, log)
        self._index.restore(segments, self._store.last_seq())
        self._append(log, np.flatnonzero(~log.deleted & ~indexed))

    def _relist(self, listed: list[SegmentEntry], opened: list[Segment]) -> list[SegmentEntry]:
        """Drop the segments that could not be opened from the list.

        The others promised something about the whole list, so they promise nothing now: until
        the items are indexed again, every start has to read all changes.
        """
        remaining = [SegmentEntry(segment.name, 0, segment.crc) for segment in opened]
        self._store.replace_segments([entry.name for entry in listed], remaining)
        return remaining

    def _open(self, entry: SegmentEntry) -> Segment | None:
        path, keep = self._directory / entry.name, self._config.vectors == "ram"
        try:
            return Segment(path, self._spec, entry.crc, keep_vectors=keep)
        except OutdatedSegment as error:
            _log.info("segment dropped, it will be rebuilt: %s: %s", entry.name, error)
        except Corruption as error:
            _log.warning("segment dropped, it will be rebuilt: %s", error.message)
        return None

    def _remove_unlisted(self, listed: set[str]) -> None:
        for path in sorted(self._directory.iterdir()):
            self._next_number = max(self._next_number, _number_of(path) + 1)
            if path.name not in listed:
                self._disk.files.unlink(path)

    def _match(
        self, opened: list[Segment], log: Log
    ) -> tuple[list[tuple[Segment, Rows]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """Find the dead rows of each segment, and which changes a segment already holds."""
        indexed = np.zeros(len(log.ids), dtype=np.bool_)
        matched = []
        for segment in opened:
            dead = segment.block.seqs < 0
            if len(
                log.ids
            ):  # else there is nothing to look up, which takes a sorted copy of all ids
                rows = segment.lookup.rows_of(log.ids)
                current = (rows >= 0) & ~log.deleted & (segment.block.seqs[rows] == log.seqs)
                indexed |= current
                dead[rows[(rows >= 0) & ~current]] = True
            matched.append((segment, np.flatnonzero(dead)))
        return matched, indexed

    def _confirm_deletions(self, log: Log) -> None:
        """Compare deletions, which nothing else of the log needs to be read for, with their rows."""
        deletions = np.flatnonzero(log.deleted)
        for start in range(0, len(deletions), _RECOVERY_ROWS):
            part = deletions[start : start + _RECOVERY_ROWS]
            self._confirm(log, part, self._store.seqs_of(log.ids[part]))

    @staticmethod
    def _confirm(log: Log, part: Rows, seqs: dict[Any, int]) -> None:
        told = zip(log.ids[part].tolist(), log.seqs[part].tolist(), strict=True)
        if any(seqs.get(value) != seq for value, seq in told):
            raise Corruption("items.db: an index of the database contradicts its rows")

    def _append(self, log: Log, changes: Rows) -> None:
        """Read items from the store, in the order of their seqs, into the head."""
        for start in range(0, len(changes), _RECOVERY_ROWS):
            part = changes[start : start + _RECOVERY_ROWS]
            item_of = {item.id: item for item in self._store.get(log.ids[part])}
            seqs = {value: item.seq for value, item in item_of.items()}
            self._confirm(log, part, seqs)
            items = [item_of[value] for value in log.ids[part].tolist()]
            flat = b"".join(item.vector for item in items)
            vectors = np.frombuffer(flat, dtype="<f4").reshape(len(part), self._spec.dim)
            fields = self._fields([item.payload for item in items])
            self._index.append(log.ids[part], log.seqs[part], vectors, fields)

    def _fields(self, payload_blobs: Sequence[bytes]) -> Sequence[FieldValues]:
        """Read the filterable fields of payloads; some may be older than the fields."""
        if not self._spec.filterable:
            return ()
        return [values_of(blob, self._spec.filterable)[0] for blob in payload_blobs]

    # --- upkeep -------------------------------------------------------------------------------

    def release(self) -> None:
        """Give back the pages of vectors that need not stay in memory."""
        for part in self._index.view.segments:
            if isinstance(part.source, Segment):
                part.source.release()

    # --- building -----------------------------------------------------------------------------

    def seal_if_idle(self) -> None:
        """Seal the head when nothing was written since the last call."""
        seq = self._index.view.seq
        if seq == self._seq_last_seen:
            self._index.seal(self._config.idle_rows_min)
        self._seq_last_seen = seq

    def build_next(self, threads: int) -> bool:
        """Build and publish one segment if one is due and the disk takes it; tell whether one was.

        Raises:
            Overloaded, NotReady: the disk is full, or has failed. What was searched before is.
        """
        with self._building:
            return self._build_next(threads)

    def _build_next(self, threads: int) -> bool:
        is_held = self._stopped.is_set() or self._disk.refusal is not None
        build = None if is_held else self._plan()
        if build is None or not self._has_room(build):
            return False
        path = self._directory / f"{self._next_number:08d}.seg"
        self._next_number += 1
        try:
            built = self._execute(build, path, threads)
        except BuildStopped:
            return False
        except Overloaded:
            self._too_little = self._disk.room()
            self._has_room(build)
            raise
        self._too_little = -1
        replaced = [p.source.name for p in build.sources if isinstance(p.source, Segment)]
        segment = built.segment
        added = [] if segment is None else [SegmentEntry(segment.name, build.seq, segment.crc)]
        self._store.replace_segments(replaced, added)
        with self._index.changing:
            self._index.publish(built)
        with self._writing():
            for name in replaced:
                self._disk.files.unlink(self._directory / name)
        _log.info(
            "segment built: collection %s, %d rows, replaces %d segments",
            self._spec.name,
            0 if segment is None else len(segment),
            len(replaced),
        )
        return True

    def _plan(self) -> Build | None:
        """Choose what to build next: columns that are missing first, which is soon done.

        Where that does not fit the disk, something else may.
        """
        build = self._index.plan_fields()
        if build is None:
            return self._index.plan()
        if self._disk.room() >= self._needed(build):
            self._fields_wait = False
            return build
        if not self._fields_wait:
            self._fields_wait = True
            _log.warning(
                "fields of collection %s wait for room: a segment of %d bytes is to be written",
                self._spec.name,
                self._needed(build),
            )
        return self._index.plan()

    def _needed(self, build: Build) -> int:
        rows = sum(int(kept.sum()) for kept in build.kept)
        return max(rows * self._index.segment_row_bytes, self._too_little + 1)

    def _has_room(self, build: Build) -> bool:
        """Tell whether a segment fits; if not, rows that wait for it keep others from coming."""
        needed = self._needed(build)
        fits = self._disk.room() >= needed
        rows_wait = any(not isinstance(part.source, Segment) for part in build.sources)
        self._wanted = needed if rows_wait and not fits else 0
        return fits

    def _execute(self, build: Build, path: Path, threads: int) -> Built:
        reader = FieldReader(self._store)
        with self._writing():
            built = self._index.execute(
                build,
                path,
                threads=threads,
                stopped=self._stopped.is_set,
                read=reader.read,
                files=self._disk.files,
            )
        for field, rows in sorted(reader.of_another_type.items()):
            _log.warning(
                "collection %s: %d items have a value that is no %s in field %r, which was declared "
                "after them; filters take it for no value",
                self._spec.name,
                rows,
                build.filterable[field],
                field,
            )
        return built

    def _writing(self) -> AbstractContextManager[None]:
        return self._disk.writing("segment", self._spec.name)


def _number_of(path: Path) -> int:
    stem = path.name.partition(".")[0]
    return int(stem) if stem.isdecimal() else 0
