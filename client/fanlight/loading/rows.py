"""What a file of embeddings is read into: batches of rows, and the fields they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import FanlightError, InvalidRequest

Array: TypeAlias = NDArray[Any]
Ids: TypeAlias = Array | list[Any]
Payload: TypeAlias = dict[str, Any] | None
Mask: TypeAlias = NDArray[np.bool_]

ID_NAMES = ("id", "ids")
VECTOR_NAMES = ("vector", "vectors", "embedding", "embeddings")
PAYLOAD_NAMES = ("payload",)


class Kind(StrEnum):
    """What can be wrong with a row."""

    UNREADABLE = "unreadable"
    DIMENSION = "dimension"
    NON_FINITE = "non-finite"
    ZERO = "zero"
    OUTLIER = "outlier"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where in a file the columns stand.

    Attributes:
        id: field of the ids; None for "id" or "ids", and row numbers when there is neither.
        vector: field, array or tensor of the vectors; None for "vector(s)" or "embedding(s)".
        payload: fields that make up a payload; empty for the object in "payload", if any.
        ids_from: a .npy file, or a text file with one id a line, that has the ids.
    """

    id: str | None = None
    vector: str | None = None
    payload: tuple[str, ...] = ()
    ids_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that is not loaded.

    Attributes:
        row: its 0-based number in the file.
        kind: what is wrong, for counting.
        error: what is wrong, in words.
        content: what is known of the row, as JSON values: "line", or "id", "vector", "payload".
    """

    row: int
    kind: Kind
    error: FanlightError
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a file.

    Attributes:
        ids: n integers or strings.
        vectors: (n, dim) numbers.
        payloads: n objects or None; None when no row has one.
        rows: (n,) int64: the rows' 0-based numbers in the file.
        faults: the rows that are not loaded; they are not among the n.
    """

    ids: Ids
    vectors: Array
    payloads: list[Payload] | None
    rows: NDArray[np.int64]
    faults: tuple[Fault, ...] = ()

    @property
    def seen(self) -> int:
        """Count the rows of the file that this batch stands for."""
        return len(self.rows) + len(self.faults)

    @property
    def end(self) -> int:
        """Tell the number of the row after its last."""
        last = max((fault.row for fault in self.faults), default=-1)
        return max(last, int(self.rows[-1]) if len(self.rows) else -1) + 1

    def take(self, kept: Mask) -> Batch:
        """Keep some of the n rows, and the faults."""
        if kept.all():
            return self
        chosen = np.flatnonzero(kept).tolist()
        ids, payloads = self.ids, self.payloads
        return Batch(
            ids[kept] if isinstance(ids, np.ndarray) else [ids[i] for i in chosen],
            self.vectors[kept],
            None if payloads is None else [payloads[i] for i in chosen],
            self.rows[kept],
            self.faults,
        )

    def content(self, place: int) -> dict[str, Any]:
        """Give one of the n rows as JSON values; numbers that JSON lacks are text."""
        value = self.ids[place]
        numbers = np.asarray(self.vectors[place], dtype=np.float64)
        vector = [x if np.isfinite(x) else str(x) for x in numbers.tolist()]
        shown: dict[str, Any] = {
            "id": value.item() if isinstance(value, np.generic) else value,
            "vector": vector,
        }
        if self.payloads is not None and self.payloads[place] is not None:
            shown["payload"] = self.payloads[place]
        return shown


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was opened.

    Attributes:
        total: its rows; None when only reading it through would tell.
        batches: its rows in order; to be iterated once.
    """

    total: int | None
    batches: Iterator[Batch]


def fault(row: int, kind: Kind, field: str, expected: str, got: str, **content: Any) -> Fault:
    """Refuse one row of a file."""
    return Fault(row, kind, InvalidRequest.of_field(field, expected, got), content)


def required(name: str | None, usual: tuple[str, ...], present: Collection[str], field: str) -> str:
    """Choose the field that is named, or the usual one that is there.

    Raises:
        InvalidRequest: there is none.
    """
    found = optional(name, usual, present, field)
    if found is None:
        expected = f"a field named {' or '.join(usual)}, or --{field}-field"
        raise InvalidRequest.of_field(field, expected, ", ".join(sorted(present)) or "no fields")
    return found


def optional(
    name: str | None, usual: tuple[str, ...], present: Collection[str], field: str
) -> str | None:
    """Choose the field that is named, or the usual one that is there, or none.

    Raises:
        InvalidRequest: the field that is named is not there.
    """
    if name is None:
        return next((candidate for candidate in usual if candidate in present), None)
    if name not in present:
        raise InvalidRequest.of_field(field, f"a field {name!r}", ", ".join(sorted(present)))
    return name
