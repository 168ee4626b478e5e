"""The data files of one shard while they are written."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pyarrow as pa

from fanlight.exports import ExportRows
from fanlight.model import CollectionSpec
from fanlight.snapshots.columns import schema_of, to_batch, writer_to
from fanlight.snapshots.manifest import FileEntry
from fanlight.snapshots.places import Place, Sink

# A file ends after so many bytes, so that a shard of any size is some files that can be checked
# and copied side by side.
_FILE_BYTES = 512 << 20
# A row group of about this size is read at once.
_GROUP_BYTES = 16 << 20


class _Hashed(io.RawIOBase):
    """Passes bytes on to a sink, and hashes them on the way; for pyarrow."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink
        self.sha256 = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        blob = bytes(data)
        self.sink.write(blob)
        self.sha256.update(blob)
        self.size += len(blob)
        return len(blob)

    def tell(self) -> int:
        return self.size


class ShardFiles:
    """Takes the rows of one shard. Not thread-safe.

    Attributes:
        names: the files that were begun.
    """

    def __init__(self, place: Place, spec: CollectionSpec, shard: int) -> None:
        self._place = place
        self._schema = schema_of(spec)
        self._shard = shard
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._file: tuple[_Hashed, Any] | None = None
        self._rows = 0
        self._entries: list[FileEntry] = []
        self.names: list[str] = []

    def add(self, rows: ExportRows) -> None:
        """Write rows, or keep them for the next row group."""
        batch = to_batch(rows, self._schema)
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes >= _GROUP_BYTES:
            self._write_group()

    def finish(self) -> list[FileEntry]:
        """Write what waits, and make the last file durable."""
        self._write_group()
        self._end_file()
        return self._entries

    def abort(self) -> None:
        """Give up, and delete the files."""
        if self._file is not None:
            self._file[0].sink.abort()
            self._file = None
        self._place.remove(self.names)

    def _write_group(self) -> None:
        if not self._waiting:
            return
        hashed, writer = self._file or self._begin_file()
        table = pa.Table.from_batches(self._waiting)
        writer.write_table(table, row_group_size=len(table))
        self._rows += len(table)
        self._waiting, self._waiting_bytes = [], 0
        if hashed.size >= _FILE_BYTES:
            self._end_file()

    def _begin_file(self) -> tuple[_Hashed, Any]:
        name = f"shard-{self._shard:04d}-{len(self.names):05d}.parquet"
        hashed = _Hashed(self._place.create(name))
        self.names.append(name)
        self._file = (hashed, writer_to(hashed, self._schema))
        return self._file

    def _end_file(self) -> None:
        if self._file is None:
            return
        hashed, writer = self._file
        writer.close()
        hashed.sink.finish()
        name, checksum = self.names[-1], hashed.sha256.hexdigest()
        self._entries.append(FileEntry(name, self._shard, self._rows, hashed.size, checksum))
        self._file, self._rows = None, 0
