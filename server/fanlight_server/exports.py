"""One shard's export of a collection: a store's items of one moment, as columns."""

from __future__ import annotations

import numpy as np

from fanlight.exports import ExportRequest, ExportRows
from fanlight.ids import empty
from fanlight.model import CollectionInfo
from fanlight_server.storage.export import StoreExport
from fanlight_server.storage.stored import StoredItem

# Vectors and payloads of a message: as much as the SDK puts into one (see `fanlight.chunks`), so
# that neither side holds more than a few MiB, and a message of one item still fits.
_BATCH_BYTES = 1 << 20


class CollectionExport:
    """See the module. One thread takes rows at a time; any thread may close it.

    Attributes:
        info: the collection as it stood when the export began.
        seq: see `fanlight.exports.ExportStart`.
        items: see there.
    """

    def __init__(self, export: StoreExport, info: CollectionInfo, request: ExportRequest) -> None:
        self._export = export
        self._request = request
        self.info = info
        self.seq = export.seq
        self.items = export.items

    def take(self) -> ExportRows | None:
        """Read the next rows; None at the end.

        Raises:
            Corruption: a stored row fails its checksum.
            DeadlineExceeded: the export was closed.
            NotReady: the collection is being closed.
        """
        items = self._export.take(self._request.batch_rows, _BATCH_BYTES)
        return self._columns(items) if items else None

    def _columns(self, items: list[StoredItem]) -> ExportRows:
        spec, request = self.info.spec, self._request
        ids = empty(spec.id_type, len(items))
        ids[:] = [item.id for item in items]
        vectors = None
        if request.with_vectors:
            flat = np.frombuffer(b"".join(item.vector for item in items), dtype="<f4")
            vectors = flat.reshape(len(items), spec.dim)
        seqs = np.fromiter((item.seq for item in items), np.int64, len(items))
        payloads = [item.payload for item in items] if request.with_payloads else None
        return ExportRows(ids, seqs, vectors, payloads)

    def close(self) -> None:
        """End it; idempotent."""
        self._export.close()
