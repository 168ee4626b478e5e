"""Matrices: .npy (mapped), .npz (an array read whole) and tensors of .safetensors (in slices)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fanlight.errors import InvalidRequest
from fanlight.loading.rows import (
    ID_NAMES,
    VECTOR_NAMES,
    Array,
    Batch,
    Fields,
    Ids,
    Source,
    optional,
    required,
)


def open_npy(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open one matrix."""
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    return _of_rows(vectors.shape, vectors.__getitem__, _read_ids(fields.ids_from), batch_rows)


def open_npz(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open named arrays: the vectors', and the ids' if there is one."""
    with np.load(path, allow_pickle=False) as archive:
        vectors = archive[required(fields.vector, VECTOR_NAMES, archive.files, "vector")]
        id_name = optional(fields.id, ID_NAMES, archive.files, "id")
        ids = _read_ids(fields.ids_from) if id_name is None else archive[id_name]
    return _of_rows(vectors.shape, vectors.__getitem__, ids, batch_rows)


def open_safetensors(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open a tensor: the one that is named, or the only matrix, as of an `nn.Embedding`.

    Raises:
        InvalidRequest: no file of that format, no such tensor, several matrices, or one of a
            type that numpy lacks (as bfloat16).
    """
    try:
        tensors: Any = safe_open(path, framework="numpy")
        shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError:
        raise InvalidRequest.of_field("file", "a readable .safetensors", str(path)) from None
    name = _matrix_of(fields.vector, shapes)
    part = tensors.get_slice(name)

    def rows(span: slice) -> Array:
        try:
            return np.asarray(part[span])
        except (SafetensorError, TypeError, AttributeError):
            got = f"tensor {name!r} of {part.get_dtype()}"
            raise InvalidRequest.of_field("vector", "a type that numpy has", got) from None

    rows(slice(0, 1))
    return _of_rows(shapes[name], rows, _read_ids(fields.ids_from), batch_rows)


def _matrix_of(name: str | None, shapes: dict[str, tuple[int, ...]]) -> str:
    if name is not None:
        return required(name, (), shapes, "vector")
    matrices = [candidate for candidate, shape in shapes.items() if len(shape) == 2]
    usual = [candidate for candidate in matrices if candidate in VECTOR_NAMES]
    if len(usual or matrices) != 1:
        shown = ", ".join(f"{n} {list(shape)}" for n, shape in shapes.items()) or "no tensors"
        raise InvalidRequest.of_field("vector", "one matrix, or --vector-field", shown)
    return (usual or matrices)[0]


def _read_ids(path: Path | None) -> Ids | None:
    if path is None:
        return None
    if path.suffix.lower() == ".npy":
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    lines = path.read_text(encoding="utf-8").split("\n")
    lines = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    try:
        return [int(line) for line in lines]
    except ValueError:
        return lines


def _of_rows(
    shape: tuple[int, ...], rows: Callable[[slice], Any], ids: Ids | None, batch_rows: int
) -> Source:
    if len(shape) != 2:
        expected = "a matrix, one vector a row"
        raise InvalidRequest.of_field("vector", expected, f"an array of shape {shape}")
    if ids is not None and len(ids) != shape[0]:
        raise InvalidRequest.of_field("ids", f"{shape[0]}, one a vector", str(len(ids)))
    return Source(shape[0], _cut(shape[0], rows, ids, batch_rows))


def _cut(
    total: int, rows: Callable[[slice], Any], ids: Ids | None, batch_rows: int
) -> Iterator[Batch]:
    for start in range(0, total, batch_rows):
        span = slice(start, min(start + batch_rows, total))
        numbers = np.arange(span.start, span.stop)
        chosen = numbers if ids is None else ids[span]
        yield Batch(chosen, np.asarray(rows(span)), None, numbers)
