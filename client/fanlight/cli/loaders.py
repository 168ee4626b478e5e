"""Files of embeddings as batches of rows: .npy, .npz, Parquet and JSON Lines.

Laws: a file is read in batches, and never whole where its format allows it (.npy is mapped,
Parquet and JSON Lines are streamed, an array of an .npz is read whole). No pickle is ever
loaded. A row that cannot be read is reported by its number and takes no other with it; whether
the others are good vectors and ids is for the server to judge.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanlight.cli.rows import (
    ID_NAMES,
    PAYLOAD_NAMES,
    VECTOR_NAMES,
    Array,
    Batch,
    Fields,
    Ids,
    Payload,
    Source,
    fault,
    optional,
    required,
)
from fanlight.errors import InvalidRequest, RowError


def open_source(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open a file by its suffix.

    Raises:
        InvalidRequest: the suffix is unknown, the file is damaged, or a field is not there.
            Damage further on is raised while the batches are read.
    """
    suffix = path.suffix.lower()
    opener = _OPENERS.get(suffix)
    if opener is None:
        raise InvalidRequest.of_field("file", " or ".join(_OPENERS), path.name)
    try:
        source = opener(path, fields, batch_rows)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, pa.ArrowException):
        raise InvalidRequest.of_field("file", f"a readable {suffix}", str(path)) from None
    return Source(source.total, _guarded(source.batches, path))


def _guarded(batches: Iterator[Batch], path: Path) -> Iterator[Batch]:
    try:
        yield from batches
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        expected = f"a readable {path.suffix.lower()}"
        raise InvalidRequest.of_field("file", expected, f"{path}, damaged further on") from None


# --- arrays -----------------------------------------------------------------------------------


def _open_npy(path: Path, fields: Fields, batch_rows: int) -> Source:
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return _of_arrays(vectors, _read_ids(fields.ids_from), batch_rows)


def _open_npz(path: Path, fields: Fields, batch_rows: int) -> Source:
    with np.load(path, allow_pickle=False) as archive:
        vectors = archive[required(fields.vector, VECTOR_NAMES, archive.files, "vector")]
        id_name = optional(fields.id, ID_NAMES, archive.files, "id")
        ids = _read_ids(fields.ids_from) if id_name is None else archive[id_name]
    return _of_arrays(vectors, ids, batch_rows)


def _read_ids(path: Path | None) -> Ids | None:
    if path is None:
        return None
    if path.suffix.lower() == ".npy":
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [int(line) for line in lines]
    except ValueError:
        return lines


def _of_arrays(vectors: Array, ids: Ids | None, batch_rows: int) -> Source:
    if vectors.ndim != 2:
        got = f"an array of shape {vectors.shape}"
        raise InvalidRequest.of_field("vector", "a matrix, one vector a row", got)
    if ids is not None and len(ids) != len(vectors):
        raise InvalidRequest.of_field("ids", f"{len(vectors)}, one a vector", str(len(ids)))
    return Source(len(vectors), _cut(vectors, ids, batch_rows))


def _cut(vectors: Array, ids: Ids | None, batch_rows: int) -> Iterator[Batch]:
    for start in range(0, len(vectors), batch_rows):
        stop = min(start + batch_rows, len(vectors))
        rows = np.arange(start, stop)
        yield Batch(
            rows if ids is None else ids[start:stop], np.asarray(vectors[start:stop]), None, rows
        )


# --- Parquet ----------------------------------------------------------------------------------


def _open_parquet(path: Path, fields: Fields, batch_rows: int) -> Source:
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    found = Fields(
        id=optional(fields.id, ID_NAMES, names, "id"),
        vector=required(fields.vector, VECTOR_NAMES, names, "vector"),
        payload=fields.payload or tuple(name for name in PAYLOAD_NAMES if name in names),
    )
    for name in found.payload:
        required(name, (), names, "payload")
    _check_lists(file.schema_arrow.field(found.vector).type)
    batches = _read_parquet(file, found, batch_rows, gathered=bool(fields.payload))
    return Source(file.metadata.num_rows, batches)


def _check_lists(kind: pa.DataType) -> None:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_list(kind) for is_list in lists):
        raise InvalidRequest.of_field("vector", "a column of lists of numbers", str(kind))


def _read_parquet(
    file: pq.ParquetFile, fields: Fields, batch_rows: int, *, gathered: bool
) -> Iterator[Batch]:
    columns = [name for name in (fields.id, fields.vector, *fields.payload) if name is not None]
    first, dim = 0, 0
    for record in file.iter_batches(batch_size=batch_rows, columns=list(dict.fromkeys(columns))):
        lengths = _lengths(record.column(fields.vector))
        dim = dim or int(lengths[lengths > 0][:1].sum())
        faults = [
            fault(first + row, "vector", f"{dim} numbers", str(lengths[row]))
            for row in np.flatnonzero((lengths != dim) | (lengths == 0)).tolist()
        ]
        good = (lengths == dim) & (lengths > 0)
        kept = record.filter(pa.array(good))
        rows = first + np.flatnonzero(good)
        numbers = kept.column(fields.vector).flatten().to_numpy(zero_copy_only=False)
        ids = rows if fields.id is None else kept.column(fields.id).to_pylist()
        payloads = _parquet_payloads(kept, fields.payload, gathered=gathered)
        yield Batch(ids, numbers.reshape(len(rows), dim), payloads, rows, tuple(faults))
        first += record.num_rows


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    """Measure each list; 0 for null."""
    # pyarrow makes its functions at run time, out of a type checker's sight.
    lengths = pc.list_value_length(lists)  # pyright: ignore[reportAttributeAccessIssue]
    return np.asarray(pc.fill_null(lengths, 0), dtype=np.int64)


def _parquet_payloads(
    record: pa.RecordBatch, names: Sequence[str], *, gathered: bool
) -> list[Payload] | None:
    if not names:
        return None
    columns = [_plain(record.column(name)).to_pylist() for name in names]
    if gathered:
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return [json.loads(value) if isinstance(value, str) else value for value in columns[0]]


def _plain(column: pa.Array) -> pa.Array:
    """Turn dates and decimals, which JSON does not have, into text."""
    kind = column.type
    foreign = pa.types.is_temporal(kind) or pa.types.is_decimal(kind)
    return column.cast(pa.string()) if foreign else column


# --- JSON Lines -------------------------------------------------------------------------------


def _open_json_lines(path: Path, fields: Fields, batch_rows: int) -> Source:
    with path.open("rb") as file:
        total = sum(1 for line in file if line.strip())
    return Source(total, _read_json_lines(path, fields, batch_rows))


def _read_json_lines(path: Path, fields: Fields, batch_rows: int) -> Iterator[Batch]:
    reader = _LineReader(fields)
    with path.open("rb") as file:
        lines = enumerate(line for line in file if line.strip())
        while chunk := list(islice(lines, batch_rows)):
            yield reader.batch(chunk)


class _LineReader:
    """Reads lines into batches; the first good line decides the fields and the dimension."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._id: str | None = None
        self._vector = ""
        self._dim = 0

    def batch(self, lines: Sequence[tuple[int, bytes]]) -> Batch:
        """Read numbered lines."""
        good: list[tuple[int, Any, Array, Payload]] = []
        faults: list[RowError] = []
        for row, line in lines:
            try:
                good.append((row, *self._read(row, line)))
            except InvalidRequest as error:
                faults.append(RowError(row, error))
        rows, ids, vectors, payloads = zip(*good, strict=True) if good else ((), (), (), ())
        return Batch(
            list(ids),
            np.array(vectors).reshape(len(rows), self._dim),
            list(payloads) if any(payload is not None for payload in payloads) else None,
            np.array(rows, dtype=np.int64),
            tuple(faults),
        )

    def _read(self, row: int, line: bytes) -> tuple[Any, Array, Payload]:
        item = _parse(line)
        if not self._dim:
            self._id = optional(self._fields.id, ID_NAMES, item, "id")
            self._vector = required(self._fields.vector, VECTOR_NAMES, item, "vector")
        vector = _numbers(item.get(self._vector))
        dim = self._dim or len(vector)
        if len(vector) != dim or not dim:
            raise InvalidRequest.of_field("vector", f"{dim or 'some'} numbers", str(len(vector)))
        chosen = row if self._id is None else _checked_id(item.get(self._id))
        payload = self._payload(item)
        self._dim = dim
        return chosen, vector, payload

    def _payload(self, item: dict[str, Any]) -> Payload:
        if self._fields.payload:
            return {name: item[name] for name in self._fields.payload if name in item}
        value = item.get(PAYLOAD_NAMES[0])
        if value is not None and not isinstance(value, dict):
            raise InvalidRequest.of_field("payload", "an object", type(value).__name__)
        return value


def _parse(line: bytes) -> dict[str, Any]:
    try:
        item = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidRequest("the line is no JSON") from None
    if not isinstance(item, dict):
        raise InvalidRequest("the line is no JSON object")
    return item


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python's parser takes but JSON does not have."""
    raise ValueError(name)


def _numbers(value: object) -> Array:
    try:
        vector = np.asarray(value)
    except ValueError:
        vector = np.asarray(None)
    if vector.dtype.kind not in "fiu" or vector.ndim != 1:
        raise InvalidRequest.of_field("vector", "an array of numbers", type(value).__name__)
    return vector


def _checked_id(value: object) -> int | str:
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    raise InvalidRequest.of_field("id", "an integer or a string", type(value).__name__)


_OPENERS: dict[str, Callable[[Path, Fields, int], Source]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".parquet": _open_parquet,
    ".jsonl": _open_json_lines,
}
