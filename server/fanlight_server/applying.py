"""Applies the writes of one collection: to the store, then to the index. Used by its writer alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fanlight.fields import FieldValues
from fanlight.ids import among
from fanlight.model import IdColumn
from fanlight_server.field_reader import values_of
from fanlight_server.index.index import Index
from fanlight_server.storage.sets import SetChange
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Change
from fanlight_server.writes import Answer, Write


class Applying:
    """See the module. For one thread."""

    def __init__(
        self,
        index: Index,
        store: Store,
        show_set: Callable[[SetChange], int | None],
        check_writable: Callable[[], None],
    ) -> None:
        """Apply to an index and a store.

        Args:
            index: of the collection.
            store: of the collection.
            show_set: makes a change of a set visible, and gives its answer. It must not fail: what
                it shows is on disk, and so are the writes after it.
            check_writable: refuses what became impossible while it waited.
        """
        self._index = index
        self._store = store
        self._show_set = show_set
        self._check_writable = check_writable
        self._seq = store.last_seq()

    def apply(self, writes: Sequence[Write | SetChange]) -> list[Answer]:
        """Make writes durable, then visible."""
        self._check_writable()
        with self._index.changing:
            changes: list[Change | SetChange] = []
            seq = self._seq + 1
            for write in writes:
                if isinstance(write, SetChange):
                    changes.append(write)
                    continue
                ids = write.ids if write.seqs is None else self._unchanged(write, changes)
                changes.append(Change(ids, seq, write.vectors, write.payload_blobs))
                seq += len(ids)
            self._store.write(changes)
            self._seq = seq - 1
            return [self._shown(c, w) for c, w in zip(changes, writes, strict=True)]

    def _unchanged(self, write: Write, before: Sequence[Change | SetChange]) -> IdColumn:
        """Leave out items that have changed since the write was made."""
        assert write.seqs is not None
        seqs = self._index.view.seqs_of(write.ids)
        now = np.fromiter((seqs.get(value, 0) for value in write.ids.tolist()), np.int64)
        same = now == write.seqs
        for change in before:
            if isinstance(change, Change):
                same &= ~among(write.ids, change.ids)
        unchanged: IdColumn = write.ids[same]
        return unchanged

    def _shown(self, change: Change | SetChange, write: Write | SetChange) -> Answer:
        """Make a change visible and give the answer to its write."""
        if isinstance(change, SetChange):
            return self._show_set(change)
        assert isinstance(write, Write)
        return write.answer(self._show(change, write))

    def _show(self, change: Change, write: Write) -> int:
        if not len(change.ids):
            return 0
        if change.vectors is None:
            return self._index.delete(change.ids, change.first_seq)
        fields = self._fields_of(write)
        self._index.upsert(change.ids, change.first_seq, change.vectors, fields)
        return 0

    def _fields_of(self, write: Write) -> Sequence[FieldValues]:
        """Give the values of the fields as declared now; they may have changed while it waited."""
        filterable = self._index.spec.filterable
        if write.filterable == filterable:
            return write.fields
        if not filterable:
            return ()
        blobs = write.payload_blobs or [b""] * len(write.ids)
        return [values_of(blob, filterable)[0] for blob in blobs]
