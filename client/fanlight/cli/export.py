"""`fanlight export`: a collection as files that other programs read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import fanlight
from fanlight.cli.bars import reported
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import out, show_json
from fanlight.errors import InvalidRequest
from fanlight.exporting import Export
from fanlight.exports import ExportRows
from fanlight.model import CollectionInfo, IdType

_KINDS = ".parquet, .npy, or a directory"


@click.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.parquet|FILE.npy|DIR")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(name: str, file: Path, force: bool, as_json: bool) -> None:
    """Write all items of a collection to a file, for use elsewhere.

    FILE.parquet has the columns id, vector (a list of fixed size, float32) and payload (JSON).
    FILE.npy is the matrix of vectors; FILE.ids.npy (or FILE.ids.txt for string ids, one a line)
    has the ids, and FILE.payloads.jsonl the payloads, row by row. A directory, named with a
    slash at its end or there already, gets one Parquet file a shard. `fanlight load` reads each
    of them. For backups use `fanlight snapshot`, which has checksums.

    \b
    Examples:
      fanlight export movies movies.parquet
      fanlight export movies vectors.npy
      fanlight export movies exported/
    """
    with connect() as client:
        info = client.collection(name).info()
        with reported(name) as progress:
            count = write(client.collection(name), info, file, force, progress)
    if as_json:
        show_json({"collection": name, "items": count, "file": str(file)})
    else:
        out.print(f"{name}: {count:,} items in {file}.", markup=False)


Report = Callable[[int, int], None]


def write(
    collection: fanlight.Collection, info: CollectionInfo, file: Path, force: bool, progress: Report
) -> int:
    """Write a collection to a file by its suffix; gives the number of items.

    Raises:
        InvalidRequest: the file is there, or of no known kind.
    """
    kind: Callable[[Iterator[ExportRows], CollectionInfo, Path], int]
    if file.suffix == ".parquet":
        targets, kind = [file], _write_parquet
    elif file.suffix == ".npy":
        targets, kind = _npy_files(file, info), _write_npy
    elif file.is_dir() or str(file).endswith(os.sep) or not file.suffix:
        targets, kind = [file], _write_folder
    else:
        raise InvalidRequest.of_field("file", _KINDS, file.name)
    there = [str(target) for target in targets if target.exists() and not target.is_dir()]
    if there and not force:
        raise InvalidRequest.of_field("file", "a new file, or --force", f"{there[0]}, which exists")
    with collection.export() as rows, _file_errors(file):
        return kind(_reported(rows, progress), info, file)


@contextmanager
def _file_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        got = f"{file}: {error.strerror}"
        raise InvalidRequest.of_field("file", "a place to write to", got) from None


def _reported(export: Export, progress: Report) -> Iterator[ExportRows]:
    done = 0
    for rows in export:
        yield rows
        done += len(rows)
        progress(done, sum(part.items for part in export.shards.values()))


@contextmanager
def _replaced(file: Path) -> Iterator[Path]:
    """Give the path to write to; it becomes `file` when all went well, and is deleted otherwise."""
    temporary = file.with_name(f".{file.name}.part")
    try:
        yield temporary
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


# --- Parquet ----------------------------------------------------------------------------------


def _schema(info: CollectionInfo) -> pa.Schema:
    id_type = pa.string() if info.spec.id_type is IdType.STRING else pa.int64()
    vector = pa.list_(pa.float32(), info.spec.dim)
    return pa.schema([("id", id_type), ("vector", vector), ("payload", pa.string())])


def _batch(rows: ExportRows, schema: pa.Schema) -> pa.RecordBatch:
    assert rows.vectors is not None
    assert rows.payload_blobs is not None
    ids = rows.ids.tolist() if rows.ids.dtype == object else rows.ids
    flat = pa.array(rows.vectors.ravel())
    payloads = [blob.decode() if blob else None for blob in rows.payload_blobs]
    vectors = pa.FixedSizeListArray.from_arrays(flat, type=schema.types[1])
    columns = [pa.array(ids, schema.types[0]), vectors, pa.array(payloads, pa.string())]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _write_parquet(export: Iterator[ExportRows], info: CollectionInfo, file: Path) -> int:
    schema, count = _schema(info), 0
    with _replaced(file) as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in export:
            writer.write_batch(_batch(rows, schema))
            count += len(rows)
    return count


def _write_folder(export: Iterator[ExportRows], info: CollectionInfo, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    schema, count = _schema(info), 0
    writers: dict[int, Any] = {}
    try:
        for rows in export:
            writer = writers.get(rows.shard)
            if writer is None:
                path = folder / f"{info.spec.name}-shard-{rows.shard}.parquet"
                writer = writers[rows.shard] = pq.ParquetWriter(path, schema, compression="zstd")
            writer.write_batch(_batch(rows, schema))
            count += len(rows)
    finally:
        for writer in writers.values():
            writer.close()
    return count


# --- NumPy ------------------------------------------------------------------------------------


def _npy_files(file: Path, info: CollectionInfo) -> list[Path]:
    ids = ".ids.txt" if info.spec.id_type is IdType.STRING else ".ids.npy"
    return [file, file.with_suffix(ids), file.with_suffix(".payloads.jsonl")]


def _write_npy(export: Iterator[ExportRows], info: CollectionInfo, file: Path) -> int:
    """Write vectors as they come; the number of rows goes into the header at the end."""
    ids: list[Any] = []
    _, ids_file, payloads_file = _npy_files(file, info)
    with (
        _replaced(file) as path,
        _replaced(payloads_file) as payloads_path,
        path.open("wb+") as vectors,
        payloads_path.open("wb") as payloads,
    ):
        _write_header(vectors, 0, info.spec.dim)
        for rows in export:
            assert rows.vectors is not None
            vectors.write(rows.vectors.astype("<f4", copy=False).tobytes())
            payloads.writelines((blob or b"null") + b"\n" for blob in rows.payload_blobs or ())
            ids += rows.ids.tolist()
        vectors.seek(0)
        _write_header(vectors, len(ids), info.spec.dim)
    with _replaced(ids_file) as path:
        _write_ids(path, ids, info)
    return len(ids)


def _write_header(file: Any, rows: int, dim: int) -> None:
    """Write the header of a .npy; NumPy leaves room in it for any number of rows."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, header)


def _write_ids(path: Path, ids: list[Any], info: CollectionInfo) -> None:
    if info.spec.id_type is not IdType.STRING:
        with path.open("wb") as file:
            np.save(file, np.array(ids, dtype=np.int64))
        return
    bad = next((id_ for id_ in ids if len(id_.splitlines()) != 1), None)
    if bad is not None:
        expected = "ids without line breaks; write .parquet instead"
        raise InvalidRequest.of_field("file", expected, json.dumps(bad))
    path.write_text("".join(f"{id_}\n" for id_ in ids), encoding="utf-8")
