"""The segment file: written once, mapped, checked whole before use. See docs/format.md."""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from isal.isal_zlib import crc32
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.errors import Corruption
from fanlight.filters import FieldType
from fanlight.ids import id_type_of
from fanlight.model import CollectionSpec, Floats, IdColumn, IdType
from fanlight_server.index import field_parts, string_ids
from fanlight_server.index.block import Block, Columns
from fanlight_server.index.cells import CellArrays
from fanlight_server.index.graph import GraphArrays
from fanlight_server.storage.files import publish
from fanlight_server.storage.filesystem import LOCAL_FILES, FileSystem

# On disk, do not change; see docs/format.md.
MAGIC = b"FANLSEG\n"
VERSION = 2
# Whole pages, so that each part can be advised alone.
_ALIGNMENT = 4096
_PREFIX = struct.Struct("<8sIII")
# Bytes that are checked before their pages are given back.
_CHECKED_BYTES = 16 << 20

Array = NDArray[Any]
# Gives the arrays that make up a part, one after the other.
Pieces = Callable[[], Iterable[Array]]


class OutdatedSegment(Exception):
    """The file is of an older format version; what it holds is in the store."""


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a segment file holds.

    Attributes:
        block: its rows.
        graph: the graph over them.
        cells: their cells; None for none.
        strings: its ids as they lie in the file, if they are strings: see `string_ids.to_bytes`.
        release: gives back the pages of the vectors that searches brought in; they come again
            when they are read. Does nothing where the vectors are to be kept.
    """

    block: Block
    graph: GraphArrays
    cells: CellArrays | None
    strings: tuple[string_ids.Offsets, string_ids.Bytes] | None
    release: Callable[[], None]


def write(
    path: Path,
    spec: CollectionSpec,
    rows: Columns,
    vectors: Callable[[], Iterable[Floats]],
    graph: GraphArrays,
    cells: CellArrays | None,
    files: FileSystem = LOCAL_FILES,
) -> int:
    """Write a segment file durably; it appears whole or not at all.

    Args:
        path: where.
        spec: of its collection; the fields are those of the rows.
        rows: its rows.
        vectors: gives their vectors in pieces; called twice.
        graph: the graph over them.
        cells: their cells; None for none.
        files: the file system.

    Returns:
        The CRC-32 of its header. The header holds those of all parts, so it stands for the
        content of the file.
    """
    parts = _to_parts(rows, vectors, graph, cells)
    header = _parameters(spec) | {
        "rows": len(rows),
        "entry_point": graph.entry_point,
        "top_level": graph.top_level,
    }
    table = [{"name": name, **_measured(pieces())} for name, pieces in parts.items()]
    text, offsets = _laid_out(header, table)
    crc = crc32(text)
    head = _PREFIX.pack(MAGIC, VERSION, len(text), crc) + text
    publish(path, _chunks(head, parts, offsets), files)
    return crc


def _measured(pieces: Iterable[Array]) -> dict[str, int]:
    size = crc = 0
    for piece in pieces:
        size, crc = size + piece.nbytes, crc32(_bytes_of(piece), crc)
    return {"bytes": size, "crc32": crc}


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _chunks(
    head: bytes, parts: dict[str, Pieces], offsets: list[int]
) -> Iterator[bytes | memoryview]:
    yield head
    at = len(head)
    for pieces, offset in zip(parts.values(), offsets, strict=True):
        yield bytes(offset - at)
        at = offset
        for piece in pieces():
            yield _bytes_of(piece)
            at += piece.nbytes


def _laid_out(header: dict[str, Any], table: list[dict[str, Any]]) -> tuple[bytes, list[int]]:
    """Give each part its offset; the header's own length depends on them, so it is padded."""
    room = len(json.dumps(header | {"parts": [part | {"offset": 1 << 60} for part in table]}))
    at, offsets = _PREFIX.size + room, []
    for part in table:
        at += -at % _ALIGNMENT
        offsets.append(at)
        at += part["bytes"]
    placed = [part | {"offset": offset} for part, offset in zip(table, offsets, strict=True)]
    return json.dumps(header | {"parts": placed}).ljust(room).encode(), offsets


def _parameters(spec: CollectionSpec) -> dict[str, Any]:
    return {
        "metric": spec.metric.value,
        "dim": spec.dim,
        "id_type": spec.id_type.value,
        "m": spec.m,
        "ef_construction": spec.ef_construction,
        "filterable": dict(spec.filterable),
    }


def _to_parts(
    rows: Columns,
    vectors: Callable[[], Iterable[Floats]],
    graph: GraphArrays,
    cells: CellArrays | None,
) -> dict[str, Pieces]:
    before = _ids_to_parts(rows) | {"seqs": rows.seqs.astype("<i8", copy=False)}
    after = {
        "lengths": rows.lengths.astype("<f8", copy=False),
        "codes": rows.codes,
        "links": graph.links.astype("<u4", copy=False),
        "levels": graph.levels,
        "upper": graph.upper.astype("<u4", copy=False),
    }
    if cells is not None:
        after |= {
            "cell_centres": cells.centres,
            "cell_bounds": cells.bounds.astype("<u4", copy=False),
            "cell_rows": cells.rows.astype("<u4", copy=False),
        }
    after |= field_parts.to_parts(rows.fields)
    little = {"vectors": lambda: (piece.astype("<f4", copy=False) for piece in vectors())}
    return _whole(before) | little | _whole(after)


def _whole(parts: dict[str, Array]) -> dict[str, Pieces]:
    """Take parts as one piece each."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in parts.items()}
    return {name: partial(iter, (array,)) for name, array in contiguous.items()}


def _ids_to_parts(rows: Columns) -> dict[str, Array]:
    if id_type_of(rows.ids) is IdType.INT64:
        return {"ids": rows.ids.astype("<i8", copy=False)}
    offsets, data = string_ids.to_bytes(rows.ids)
    order = rows.order.astype("<i8", copy=False)
    return {"id_offsets": offsets, "id_bytes": data, "id_ranks": order}


def read(path: Path, spec: CollectionSpec, crc: int, *, keep_vectors: bool) -> SegmentContent:
    """Map a segment file and check all of its content.

    Args:
        path: of the file.
        spec: of its collection. The fields may be others than those of the file, whose rows come
            with what it has.
        crc: what `write` returned.
        keep_vectors: whether the pages of the vectors stay in memory after they were checked;
            otherwise they are given back, and come one by one when they are read.

    Returns:
        Read-only arrays over the mapped file; unlinking the file leaves them valid.

    Raises:
        OutdatedSegment: the file is of an older format version.
        Corruption: the file is missing, damaged, of a newer version, of another collection, or
            another than the one written.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = _checked_header(data, crc)
        for name, value in _parameters(spec).items():
            # fields may have been declared or dropped since
            if name != "filterable" and header[name] != value:
                raise Corruption(f"{path}: {name} is {header[name]}, the collection has {value}")
        parts = {
            part["name"]: _checked_part(data, part, keep_vectors or part["name"] != "vectors")
            for part in header["parts"]
        }
        _check_room(data, header["parts"])
        place = {part["name"]: part for part in header["parts"]}["vectors"]
        release = partial(_release, data, place["offset"], place["bytes"])
        return _from_parts(spec, header, parts, _nothing if keep_vectors else release)
    except Corruption as error:
        raise Corruption(f"{path.name}: {error.message}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise Corruption(f"{path.name}: not a readable segment file") from error


def _checked_header(data: mmap.mmap, expected_crc: int) -> dict[str, Any]:
    magic, version, length, crc = _PREFIX.unpack(data[: _PREFIX.size])
    if magic != MAGIC:
        raise Corruption("no segment file")
    if version == 1:
        raise OutdatedSegment("format version 1")
    if version != VERSION:
        raise Corruption(f"format version {version}, expected {VERSION}")
    text = data[_PREFIX.size : _PREFIX.size + length]
    if len(text) != length or crc32(text) != crc:
        raise Corruption("the header fails its checksum")
    if crc != expected_crc:
        raise Corruption("another segment's file")
    header: dict[str, Any] = json.loads(text)
    return header


def _checked_part(data: mmap.mmap, part: dict[str, Any], keep: bool) -> NDArray[np.uint8]:
    start, size = part["offset"], part["bytes"]
    view = np.frombuffer(data, dtype=np.uint8, count=size, offset=start)
    crc = 0
    for at in range(0, size, _CHECKED_BYTES):
        crc = crc32(view[at : at + _CHECKED_BYTES].data, crc)
        if not keep:
            _release(data, start + at, min(_CHECKED_BYTES, size - at))
    if crc != part["crc32"]:
        raise Corruption(f"the part {part['name']!r} fails its checksum")
    if not keep:
        # rows are read here and there: what lies beside them is not wanted
        _advise(data, mmap.MADV_RANDOM, start, size)
    return view


def _check_room(data: mmap.mmap, parts: list[dict[str, Any]]) -> None:
    """Make sure that there is nothing between the parts, nor after them."""
    at = _PREFIX.size + _PREFIX.unpack(data[: _PREFIX.size])[2]
    for part in parts:
        if any(data[at : part["offset"]]):
            raise Corruption(f"something lies before the part {part['name']!r}")
        at = part["offset"] + part["bytes"]
    if len(data) != at:
        raise Corruption(f"the file has {len(data)} bytes, expected {at}")


def _release(data: mmap.mmap, start: int, size: int) -> None:
    _advise(data, mmap.MADV_DONTNEED, start, size)


def _nothing() -> None:
    pass


def _advise(data: mmap.mmap, advice: int, start: int, size: int) -> None:
    """Advise the system about the pages from start on, which may be larger than the file's."""
    before = start % mmap.PAGESIZE
    data.madvise(advice, start - before, size + before)


def _from_parts(
    spec: CollectionSpec,
    header: dict[str, Any],
    parts: dict[str, NDArray[np.uint8]],
    release: Callable[[], None],
) -> SegmentContent:
    rows = header["rows"]
    filterable = {name: FieldType(type_) for name, type_ in header["filterable"].items()}
    strings = None
    if spec.id_type is IdType.STRING:
        strings = parts["id_offsets"].view("<u8"), parts["id_bytes"]
    ids, order = _ids_from_parts(strings, parts)
    block = Block(
        metric=spec.metric,
        ids=ids,
        order=order,
        seqs=parts["seqs"].view("<i8"),
        vectors=parts["vectors"].view("<f4").reshape(rows, spec.dim),
        lengths=parts["lengths"].view("<f8"),
        codes=parts["codes"].reshape(rows, kernel.code_bytes(spec.dim)),
        fields=field_parts.from_parts(filterable, parts, rows),
    )
    graph = GraphArrays(
        links=parts["links"].view("<u4").reshape(rows, 1 + 2 * spec.m),
        levels=parts["levels"],
        upper=parts["upper"].view("<u4").reshape(-1, 1 + spec.m),
        entry_point=header["entry_point"],
        top_level=header["top_level"],
    )
    sizes = {len(ids), len(order), len(block.seqs), len(block.lengths), len(graph.levels)}
    if sizes != {rows} or int(graph.levels.sum()) != len(graph.upper):
        raise Corruption("the parts contradict each other")
    return SegmentContent(block, graph, _cells_from_parts(spec, parts), strings, release)


def _cells_from_parts(
    spec: CollectionSpec, parts: dict[str, NDArray[np.uint8]]
) -> CellArrays | None:
    if "cell_rows" not in parts:
        return None
    return CellArrays(
        centres=parts["cell_centres"].reshape(-1, kernel.code_bytes(spec.dim)),
        bounds=parts["cell_bounds"].view("<u4"),
        rows=parts["cell_rows"].view("<u4"),
    )


def _ids_from_parts(
    strings: tuple[string_ids.Offsets, string_ids.Bytes] | None,
    parts: dict[str, NDArray[np.uint8]],
) -> tuple[IdColumn, NDArray[np.int64]]:
    if strings is None:
        ids = parts["ids"].view("<i8")
        return ids, ids
    return string_ids.from_bytes(*strings), parts["id_ranks"].view("<i8")
