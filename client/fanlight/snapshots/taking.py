"""Taking a snapshot: every shard's items of one moment, then the manifest.

Laws: the manifest is written when every file is durable, and nothing after it. A shard that fails
is read again from its start, at a new moment: what a snapshot holds of a shard is of one moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from fanlight.backups import Progress
from fanlight.errors import FanlightError, InternalError, NotReady
from fanlight.exporting import Export, ShardExport
from fanlight.model import CollectionInfo
from fanlight.retry import Budget, RetryPolicy, is_transient
from fanlight.snapshots.manifest import FILE_NAME, FileEntry, Manifest, ShardEntry, Snapshot, dumps
from fanlight.snapshots.places import Place, place_of
from fanlight.snapshots.shard_files import ShardFiles

if TYPE_CHECKING:
    from fanlight.client import Collection

# A shard or router that restarts is back within seconds; a backup job can wait that long.
_PATIENCE = RetryPolicy(attempts=12, first_pause_s=0.5, longest_pause_s=10.0)
_PATIENCE_S = 120.0


def take(
    collection: Collection, dest: str | os.PathLike[str], *, progress: Progress | None = None
) -> Snapshot:
    """Write a snapshot; see `fanlight.Collection.snapshot`."""
    place = place_of(dest)
    place.check_free()
    taking = _Taking(collection, place, progress)
    try:
        taking.read_all()
        manifest = taking.manifest()
        place.publish(FILE_NAME, dumps(manifest))
    except BaseException:
        taking.abort()
        raise
    return Snapshot(str(place), manifest, taking.repeats)


class _Taking:
    """A snapshot under way."""

    def __init__(self, collection: Collection, place: Place, progress: Progress | None) -> None:
        self._collection = collection
        self._place = place
        self._progress = progress
        self._writing: dict[int, ShardFiles] = {}
        self._done: dict[int, tuple[ShardExport, list[FileEntry]]] = {}
        self._shards = 0
        self.repeats = 0

    def read_all(self) -> None:
        """Read all shards, and again those that fail, while it makes sense.

        Raises:
            FanlightError: why a shard cannot be read.
        """
        budget = Budget(_PATIENCE, _PATIENCE_S)
        while True:
            before = len(self._done)
            failure = self._read_missing()
            if failure is None:
                return
            if len(self._done) > before:
                budget = Budget(_PATIENCE, _PATIENCE_S)
            pause = budget.pause_after(failure)
            if pause is None:
                raise failure
            self.repeats += 1
            time.sleep(pause)

    def _read_missing(self) -> FanlightError | None:
        """Read the shards that are not done; gives why some still are not."""
        missing = [shard for shard in range(self._shards) if shard not in self._done]
        try:
            with self._collection.export(shards=missing, min_coverage=0.0) as export:
                try:
                    self._write(export)
                finally:
                    self._settle(export.shards)
        except FanlightError as error:
            if not is_transient(error):
                raise
            return error
        errors = [part.error for part in export.shards.values() if part.error is not None]
        lasting = [error for error in errors if not is_transient(error)]
        if lasting:
            raise lasting[0]
        if errors:
            return errors[0]
        if not self._shards or len(self._done) < self._shards:
            return NotReady("the export ended before all shards were read")
        return None

    def _write(self, export: Export) -> None:
        for rows in export:
            files = self._writing.get(rows.shard)
            if files is None:
                info = export.shards[rows.shard].collection
                if info is None:
                    raise InternalError("the export has rows before their start")
                files = self._writing[rows.shard] = ShardFiles(self._place, info.spec, rows.shard)
            files.add(rows)
            self._report(export.shards)

    def _settle(self, parts: Mapping[int, ShardExport]) -> None:
        """Keep the files of the shards that came whole; delete those of the others."""
        for shard, part in parts.items():
            self._shards = max(self._shards, part.shards)
            files = self._writing.pop(shard, None)
            if part.is_whole:
                self._done[shard] = (part, files.finish() if files is not None else [])
            elif files is not None:
                files.abort()

    def _report(self, parts: Mapping[int, ShardExport]) -> None:
        if self._progress is not None:
            known = {shard: part for shard, (part, _) in self._done.items()} | dict(parts)
            received = sum(part.received for part in known.values())
            self._progress(received, sum(part.items for part in known.values()))

    def manifest(self) -> Manifest:
        """Describe what was written.

        Raises:
            NotReady: the shards did not read one and the same collection.
        """
        done = [(shard, *self._done[shard]) for shard in sorted(self._done)]
        info = _agreed([part.collection for _, part, _ in done])
        return Manifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            made_by=version("fanlight"),
            spec=info.spec,
            collection_version=info.version,
            shards=tuple(ShardEntry(shard, part.seq, part.items) for shard, part, _ in done),
            files=tuple(entry for _, _, entries in done for entry in entries),
        )

    def abort(self) -> None:
        """Delete what was written."""
        for files in self._writing.values():
            files.abort()
        names = [entry.name for _, entries in self._done.values() for entry in entries]
        self._place.remove([*names, f"{FILE_NAME}.tmp"])


def _agreed(infos: list[CollectionInfo | None]) -> CollectionInfo:
    kept = {(info.spec, info.version): info for info in infos if info is not None}
    if len(kept) != 1:
        raise NotReady("the collection was deleted and created again while it was read")
    return next(iter(kept.values()))
