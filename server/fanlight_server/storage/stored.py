"""What goes into a store and comes out of it: frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fanlight.errors import Overloaded
from fanlight.model import Floats, IdColumn, Rows


@dataclass(frozen=True, slots=True)
class Change:
    """Consecutive changes of one kind.

    Attributes:
        ids: (n,) the ids changed, each once.
        first_seq: seq of the first; the next ones follow.
        vectors: (n, dim) float32; None for deletions.
        payload_blobs: n JSON texts, empty for none; None when no item has one.
    """

    ids: IdColumn
    first_seq: int
    vectors: Floats | None = None
    payload_blobs: Sequence[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """What changed after some seq: the last change of each id, by seq.

    Attributes:
        ids: (n,) ids.
        seqs: (n,) int64, ascending.
        deleted: (n,) bool.
    """

    ids: IdColumn
    seqs: Rows
    deleted: np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One live item.

    Attributes:
        id: int or str.
        seq: seq of its last change.
        vector: dim x float32 as bytes.
        payload: JSON text, empty for none.
    """

    id: Any
    seq: int
    vector: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One row of the list of segments.

    Attributes:
        name: file name.
        seq: see "Recovery" in docs/format.md.
        crc: checksum of the file's header.
    """

    name: str
    seq: int
    crc: int


class Reach:
    """Bounds what is read into memory at once."""

    def __init__(self, bytes_max: int | None, with_vectors: bool) -> None:
        self._most = bytes_max
        self._left = bytes_max or 0
        self._with_vectors = with_vectors

    def within(self, items: Iterable[StoredItem]) -> Iterator[StoredItem]:
        """Pass items on, with an empty vector if it is not wanted, until they are too many bytes."""
        for item in items:
            kept = item if self._with_vectors else StoredItem(item.id, item.seq, b"", item.payload)
            self._left -= len(kept.vector) + len(kept.payload)
            if self._most is not None and self._left < 0:
                raise Overloaded(
                    f"the items have more than {self._most} bytes together, which is the limit "
                    "(message_bytes); ask for fewer at once"
                )
            yield kept
