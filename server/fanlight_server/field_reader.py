"""Reads the values of filterable fields that were declared after their items were written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fanlight.errors import Corruption
from fanlight.fields import FieldValues, read_valid_fields
from fanlight.filters import FieldType
from fanlight.ids import empty, id_type_of
from fanlight.model import IdColumn, Rows, parse_payload
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import StoredItem

_NO_VALUES: FieldValues = {}


def values_of(
    payload_blob: bytes, filterable: Mapping[str, FieldType]
) -> tuple[FieldValues, Sequence[str]]:
    """Read a payload; see `read_valid_fields`."""
    return read_valid_fields(parse_payload(payload_blob) or {}, filterable)


class FieldReader:
    """Reads values for one build, by one thread.

    Attributes:
        of_another_type: how many items have a value of another type than that of the field.
    """

    def __init__(self, store: Store) -> None:
        """Read from a store."""
        self._store = store
        self.of_another_type: Counter[str] = Counter()

    def read(
        self, ids: IdColumn, seqs: Rows, filterable: Mapping[str, FieldType]
    ) -> list[FieldValues]:
        """Read the values of some rows; of one whose item has changed since, none.

        Raises:
            Corruption: an item is gone, or damaged.
        """
        if not len(ids):
            return []
        items = {item.id: item for item in self._store.get(ids, with_vectors=False)}
        rows = list(zip(ids.tolist(), seqs.tolist(), strict=True))
        self._check_gone({value: seq for value, seq in rows if value not in items}, ids)
        return [self._values(items.get(value), seq, filterable) for value, seq in rows]

    def _values(
        self, item: StoredItem | None, seq: int, filterable: Mapping[str, FieldType]
    ) -> FieldValues:
        if item is None or item.seq > seq:
            return _NO_VALUES
        if item.seq < seq:
            raise Corruption(f"items.db: item {item.id!r} is older than it was")
        values, wrong = values_of(item.payload, filterable)
        self.of_another_type.update(wrong)
        return values

    def _check_gone(self, seqs: Mapping[int | str, int], like: IdColumn) -> None:
        """Make sure that the items which the store did not give were deleted since."""
        if not seqs:
            return
        ids = empty(id_type_of(like), len(seqs))
        ids[:] = list(seqs)
        stored = self._store.seqs_of(ids)
        for value, seq in seqs.items():
            if stored.get(value, 0) <= seq:
                raise Corruption(f"items.db: item {value!r} is gone")
