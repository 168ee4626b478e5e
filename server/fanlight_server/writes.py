"""What waits to be written to a collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.model import DeleteResult, Floats, IdColumn, Rows, UpsertResult

Answer = UpsertResult | DeleteResult | int | None
# Items that a deletion by filter takes out with one write: one group commit.
DELETED_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Write:
    """Valid rows to upsert (with vectors) or ids to delete (without).

    Attributes:
        ids: (n,) ids, each once.
        vectors: (n, dim) float32, or None.
        payload_blobs: n JSON texts, or None.
        fields: values of the filterable fields, one mapping a row; empty when there are none.
        answer: makes the answer from the number of items that the write removed.
        seqs: (n,) int64: delete only items whose last change this is; None for all.
        filterable: the declared fields that `fields` were read by.
    """

    ids: IdColumn
    vectors: Floats | None
    payload_blobs: Sequence[bytes] | None
    fields: Sequence[FieldValues]
    answer: Callable[[int], Answer]
    seqs: Rows | None = None
    filterable: Mapping[str, FieldType] = field(default_factory=dict)
