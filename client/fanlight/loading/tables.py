"""Parquet, and Arrow's own files (.arrow, .feather, and streams of them).

A column of fixed-size lists without nulls is not copied on its way from Arrow to numpy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest
from fanlight.loading.rows import (
    ID_NAMES,
    PAYLOAD_NAMES,
    VECTOR_NAMES,
    Batch,
    Fields,
    Kind,
    Payload,
    Source,
    fault,
    optional,
    required,
)


def open_parquet(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open a Parquet file; row groups are streamed."""
    file = pq.ParquetFile(path)
    found = _find(file.schema_arrow, fields)
    columns = [name for name in (found.id, found.vector, *found.payload) if name is not None]
    records = file.iter_batches(batch_size=batch_rows, columns=list(dict.fromkeys(columns)))
    batches = _read(records, found, gathered=bool(fields.payload))
    return Source(file.metadata.num_rows, batches)


def open_arrow(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open a file or a stream of record batches; the file is mapped."""
    mapped = pa.memory_map(str(path))
    try:
        file = pa.ipc.open_file(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        stream = pa.ipc.open_stream(mapped)
        found, total, records = _find(stream.schema, fields), None, iter(stream)
    else:
        found = _find(file.schema, fields)
        kept = [file.get_batch(i) for i in range(file.num_record_batches)]
        total, records = sum(record.num_rows for record in kept), iter(kept)
    batches = _read(_cut(records, batch_rows), found, gathered=bool(fields.payload))
    return Source(total, batches)


def _cut(records: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    for record in records:
        for start in range(0, record.num_rows, batch_rows):
            yield record.slice(start, batch_rows)


def _find(schema: pa.Schema, fields: Fields) -> Fields:
    """Settle which columns are what."""
    names = schema.names
    found = Fields(
        id=optional(fields.id, ID_NAMES, names, "id"),
        vector=required(fields.vector, VECTOR_NAMES, names, "vector"),
        payload=fields.payload or tuple(name for name in PAYLOAD_NAMES if name in names),
    )
    for name in found.payload:
        required(name, (), names, "payload")
    kind = schema.field(found.vector).type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_list(kind) for is_list in lists):
        raise InvalidRequest.of_field("vector", "a column of lists of numbers", str(kind))
    return found


def _read(records: Iterable[pa.RecordBatch], fields: Fields, *, gathered: bool) -> Iterator[Batch]:
    first, dim = 0, 0
    for record in records:
        lengths = _lengths(record.column(fields.vector))
        dim = dim or int(lengths[lengths > 0][:1].sum())
        good = (lengths == dim) & (lengths > 0)
        kept = record if good.all() else record.filter(pa.array(good))
        rows = first + np.flatnonzero(good)
        ids = rows if fields.id is None else kept.column(fields.id).to_pylist()
        faults = tuple(
            fault(first + row, Kind.DIMENSION, "vector", f"{dim} numbers", str(lengths[row]))
            for row in np.flatnonzero(~good).tolist()
        )
        vectors = _matrix(kept.column(fields.vector), len(rows), dim)
        payloads = _payloads(kept, fields.payload, gathered=gathered)
        yield Batch(ids, vectors, payloads, rows, faults)
        first += record.num_rows


def _matrix(lists: pa.Array, rows: int, dim: int) -> NDArray[np.generic]:
    numbers = lists.flatten()
    # A missing number is NaN, which is found as what it is by whoever judges vectors.
    return np.asarray(numbers.to_numpy(zero_copy_only=False)).reshape(rows, dim)


def _lengths(lists: pa.Array) -> NDArray[np.int64]:
    """Measure each list; 0 for null."""
    # pyarrow makes its functions at run time, out of a type checker's sight.
    lengths = pc.list_value_length(lists)  # pyright: ignore[reportAttributeAccessIssue]
    return np.asarray(pc.fill_null(lengths, 0), dtype=np.int64)


def _payloads(
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
