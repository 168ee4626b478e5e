"""Lines of text as batches: what the line formats share."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.loading.rows import Array, Batch, Fault, Kind, Payload

Read: TypeAlias = tuple[Any, Array, Payload]


class WrongDimension(InvalidRequest):
    """A vector has another number of elements than those before it."""


class RowReader(Protocol):
    """Reads one row of a file; the first good one decides the dimension."""

    def read(self, row: int, line: Any) -> Read:
        """Read id, vector and payload.

        Raises:
            InvalidRequest: the row cannot be read.
        """
        ...

    @staticmethod
    def show(line: Any) -> str:
        """Give the row as text, for people."""
        ...


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, also one that is gzipped."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")


def rows_of(path: Path, header_lines: int = 0) -> Iterator[bytes]:
    """Read the lines after a header; blank ones are no rows."""
    with open_bytes(path) as file:
        for line in islice(file, header_lines, None):
            if line.strip():
                yield line


def count_rows(path: Path, header_lines: int = 0) -> int | None:
    """Count the lines that are rows; None for gzipped files, which would be unpacked twice."""
    if path.suffix.lower() == ".gz":
        return None
    return sum(1 for _ in rows_of(path, header_lines))


def batches(lines: Iterable[Any], reader: RowReader, batch_rows: int) -> Iterator[Batch]:
    """Read rows in batches; one that cannot be read takes no other with it."""
    numbered = enumerate(lines)
    while chunk := list(islice(numbered, batch_rows)):
        yield _batch(chunk, reader)


def _batch(chunk: list[tuple[int, Any]], reader: RowReader) -> Batch:
    rows, good, faults = [], [], []
    for row, line in chunk:
        try:
            good.append(reader.read(row, line))
            rows.append(row)
        except InvalidRequest as error:
            kind = Kind.DIMENSION if isinstance(error, WrongDimension) else Kind.UNREADABLE
            faults.append(Fault(row, kind, error, {"line": reader.show(line)}))
    payloads = [payload for _, _, payload in good]
    return Batch(
        [value for value, _, _ in good],
        np.stack([vector for _, vector, _ in good]) if good else np.empty((0, 0), np.float32),
        payloads if any(payload is not None for payload in payloads) else None,
        np.array(rows, dtype=np.int64),
        tuple(faults),
    )


def checked_dim(got: int, dim: int) -> int:
    """Hold a vector to the dimension of those before it; 0 for none before it.

    Raises:
        WrongDimension: it has another, or none.
    """
    if not got or (dim and got != dim):
        raise WrongDimension.of_field("vector", f"{dim or 'some'} numbers", str(got))
    return got
