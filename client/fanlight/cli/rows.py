"""What a file of embeddings is read into: batches of rows, and the fields they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest, RowError

Array: TypeAlias = NDArray[Any]
Ids: TypeAlias = Array | list[Any]
Payload: TypeAlias = dict[str, Any] | None

ID_NAMES = ("id", "ids")
VECTOR_NAMES = ("vector", "vectors", "embedding", "embeddings")
PAYLOAD_NAMES = ("payload",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where in a file the columns stand.

    Attributes:
        id: field of the ids; None for "id" or "ids", and row numbers when there is neither.
        vector: field of the vectors; None for "vector(s)" or "embedding(s)".
        payload: fields that make up a payload; empty for the object in "payload", if any.
        ids_from: a .npy file, or a text file with one id a line, that has the ids.
    """

    id: str | None = None
    vector: str | None = None
    payload: tuple[str, ...] = ()
    ids_from: Path | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a file.

    Attributes:
        ids: n integers or strings.
        vectors: (n, dim) numbers.
        payloads: n objects or None; None when no row has one.
        rows: (n,) int64: the rows' 0-based numbers in the file.
        faults: the rows that cannot be read, by their numbers; they are not among the n.
    """

    ids: Ids
    vectors: Array
    payloads: list[Payload] | None
    rows: NDArray[np.int64]
    faults: tuple[RowError, ...] = ()

    @property
    def seen(self) -> int:
        """Count the rows of the file that this batch stands for."""
        return len(self.rows) + len(self.faults)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was opened.

    Attributes:
        total: its rows.
        batches: its rows in order; to be iterated once.
    """

    total: int
    batches: Iterator[Batch]


def fault(row: int, field: str, expected: str, got: str) -> RowError:
    """Refuse one row of a file."""
    return RowError(row, InvalidRequest.of_field(field, expected, got))


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
