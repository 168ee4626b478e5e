"""Items as columns of Parquet, bit for bit.

Float32 is stored as it is, so vectors come back equal to the last bit; a payload is the JSON text
that was put, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fanlight.errors import Corruption
from fanlight.exports import ExportRows
from fanlight.ids import empty
from fanlight.model import CollectionSpec, IdType, ItemBatch

# Rows read at once: with 768 dimensions 6 MiB.
_READ_ROWS = 2_048


def schema_of(spec: CollectionSpec) -> pa.Schema:
    """Give the columns of a snapshot's data files."""
    vector = pa.list_(pa.field("element", pa.float32(), nullable=False), spec.dim)
    return pa.schema(
        [
            pa.field("id", _id_type(spec), nullable=False),
            pa.field("seq", pa.int64(), nullable=False),
            pa.field("vector", vector, nullable=False),
            pa.field("payload", pa.binary()),
        ]
    )


def _id_type(spec: CollectionSpec) -> Any:
    return pa.string() if spec.id_type is IdType.STRING else pa.int64()


def to_batch(rows: ExportRows, schema: pa.Schema) -> pa.RecordBatch:
    """Turn exported rows, vectors and payloads included, into a record batch."""
    assert rows.vectors is not None
    assert rows.payload_blobs is not None
    flat = pa.array(rows.vectors.ravel())
    columns = [
        pa.array(rows.ids.tolist() if rows.ids.dtype == object else rows.ids, schema.types[0]),
        pa.array(rows.seqs),
        pa.FixedSizeListArray.from_arrays(flat, type=schema.types[2]),
        pa.array([blob or None for blob in rows.payload_blobs], pa.binary()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def writer_to(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Make the writer of a data file.

    Vectors are not compressed: embeddings are noise to a general compressor.
    """
    # Its own stubs know only one name for all columns.
    compression: Any = {
        "id": "zstd",
        "seq": "zstd",
        "payload": "zstd",
        "vector.list.element": "none",
    }
    return pq.ParquetWriter(
        sink, schema, compression=compression, use_dictionary=False, write_statistics=False
    )


def batches_of(file: Any, spec: CollectionSpec, name: str) -> Iterator[ItemBatch]:
    """Read a data file, some rows at a time.

    Raises:
        Corruption: it is no data file of this collection.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            if not parquet.schema_arrow.equals(schema_of(spec)):
                raise Corruption(f"{name}: its columns are not those of the collection")
            for batch in parquet.iter_batches(_READ_ROWS):
                yield _items(batch, spec)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise Corruption(f"{name}: it cannot be read as Parquet") from error


def _items(batch: pa.RecordBatch, spec: CollectionSpec) -> ItemBatch:
    ids = empty(spec.id_type, len(batch))
    ids[:] = batch.column("id").to_pylist() if spec.id_type is IdType.STRING else batch.column("id")
    vectors = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
    payloads = [blob or b"" for blob in batch.column("payload").to_pylist()]
    matrix = np.ascontiguousarray(vectors, dtype=np.float32).reshape(len(batch), spec.dim)
    return ItemBatch(ids, matrix, payloads if any(payloads) else None)
