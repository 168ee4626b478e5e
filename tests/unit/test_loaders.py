"""Files of embeddings become batches of rows, and a bad row takes no other with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fanlight.errors import InvalidRequest
from fanlight.loading import Batch, Fields, open_source

VECTORS = np.arange(21, dtype=np.float32).reshape(7, 3)
IDS = [70, 10, 60, 20, 50, 30, 40]


def read(path: Path, batch_rows: int = 3, **fields: Any) -> list[Batch]:
    source = open_source(path, Fields(**fields), batch_rows)
    batches = list(source.batches)
    assert sum(batch.seen for batch in batches) == source.total
    return batches


def ids_of(batches: list[Batch]) -> list[Any]:
    return [value for batch in batches for value in list(batch.ids)]


def payloads_of(batches: list[Batch]) -> list[Any]:
    return [payload for batch in batches for payload in batch.payloads or []]


def faults_of(batches: list[Batch]) -> dict[int, str]:
    return {error.row: str(error.error) for batch in batches for error in batch.faults}


def vectors_of(batches: list[Batch]) -> np.ndarray[Any, Any]:
    return np.concatenate([batch.vectors for batch in batches])


def write_npy(path: Path) -> Path:
    np.save(path.with_suffix(".npy"), VECTORS)
    return path.with_suffix(".npy")


def write_npz(path: Path) -> Path:
    np.savez_compressed(path.with_suffix(".npz"), vectors=VECTORS, ids=np.array(IDS))
    return path.with_suffix(".npz")


def write_parquet(path: Path) -> Path:
    table = pa.table({"id": IDS, "vector": VECTORS.tolist()})
    pq.write_table(table, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def write_json_lines(path: Path) -> Path:
    rows = zip(IDS, VECTORS.tolist(), strict=True)
    lines = [json.dumps({"id": value, "vector": vector}) for value, vector in rows]
    return write_lines(path.with_suffix(".jsonl"), lines)


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


WRITERS = [write_npy, write_npz, write_parquet, write_json_lines]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("batch_rows", [1, 3, 7, 100])
def test_every_format_gives_the_same_rows(
    write: Callable[[Path], Path], batch_rows: int, tmp_path: Path
) -> None:
    """Whatever the format and the batch size, all rows come once and in order."""
    batches = read(write(tmp_path / "items"), batch_rows)
    assert [len(batch.vectors) for batch in batches[:-1]] == [batch_rows] * (len(batches) - 1)
    np.testing.assert_array_equal(vectors_of(batches), VECTORS)
    assert ids_of(batches) == (list(range(7)) if write is write_npy else IDS)
    np.testing.assert_array_equal(np.concatenate([batch.rows for batch in batches]), np.arange(7))
    assert not faults_of(batches)


def test_a_matrix_larger_than_memory_is_read_in_batches(tmp_path: Path) -> None:
    """A .npy is mapped: its first rows come without reading the rest."""
    path = tmp_path / "huge.npy"
    huge = np.lib.format.open_memmap(path, "w+", np.float32, (1 << 28, 64))
    huge[1] = 5.0
    del huge
    source = open_source(path, Fields(), 2)
    assert source.total == 1 << 28
    np.testing.assert_array_equal(next(source.batches).vectors[1], np.full(64, 5.0))


def test_element_types_stay(tmp_path: Path) -> None:
    """float16 and int8 matrices are handed on as they are, since they travel as they are."""
    for dtype in (np.float16, np.int8):
        np.save(tmp_path / "x.npy", VECTORS.astype(dtype))
        assert vectors_of(read(tmp_path / "x.npy")).dtype == dtype


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_ids_from_another_file(suffix: str, tmp_path: Path) -> None:
    """Ids for a matrix come from a .npy or from a text file, integers as integers."""
    ids = tmp_path / f"ids{suffix}"
    if suffix == ".npy":
        np.save(ids, np.array(IDS))
    else:
        write_lines(ids, [str(value) for value in IDS])
    assert ids_of(read(write_npy(tmp_path / "items"), ids_from=ids)) == IDS


def test_text_ids_stay_text(tmp_path: Path) -> None:
    """A text file with one id that is no integer gives string ids."""
    names = [*"abcdef", "7"]
    ids = write_lines(tmp_path / "ids.txt", names)
    assert ids_of(read(write_npy(tmp_path / "items"), ids_from=ids)) == names


def test_too_few_ids_are_refused(tmp_path: Path) -> None:
    """Ids that do not match the vectors one to one are refused before anything is read."""
    ids = write_lines(tmp_path / "ids.txt", ["1", "2"])
    with pytest.raises(InvalidRequest, match="ids: expected 7, one a vector, got 2"):
        read(write_npy(tmp_path / "items"), ids_from=ids)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), 3), pa.list_(pa.float64()), pa.large_list(pa.float16())]
)
def test_parquet_takes_every_kind_of_list(kind: pa.DataType, tmp_path: Path) -> None:
    """A vector column may be of fixed-size or variable lists, of any float type."""
    rows = [np.asarray(row).tolist() for row in VECTORS]
    values = [[np.float16(x) for x in row] for row in rows] if "half" in str(kind) else rows
    pq.write_table(pa.table({"embedding": pa.array(values, kind)}), tmp_path / "x.parquet")
    batches = read(tmp_path / "x.parquet")
    np.testing.assert_array_equal(vectors_of(batches), VECTORS)
    assert ids_of(batches) == list(range(7))


@pytest.mark.parametrize("kind", [pa.list_(pa.float32(), 2), pa.list_(pa.float32())])
def test_parquet_rows_without_a_fitting_vector_are_reported(
    kind: pa.DataType, tmp_path: Path
) -> None:
    """A row whose vector is null or of another length is named; its neighbours stand."""
    other = None if pa.types.is_fixed_size_list(kind) else [9.0]
    vectors = pa.array([None, [1.0, 2.0], other, [3.0, 4.0]], kind)
    pq.write_table(pa.table({"id": [5, 6, 7, 8], "vector": vectors}), tmp_path / "x.parquet")
    batches = read(tmp_path / "x.parquet", 2)
    assert ids_of(batches) == [6, 8]
    np.testing.assert_array_equal(vectors_of(batches), [[1, 2], [3, 4]])
    got = 0 if other is None else 1
    assert faults_of(batches)[0] == "vector: expected 2 numbers, got 0"
    assert faults_of(batches)[2] == f"vector: expected 2 numbers, got {got}"


def parquet_with_payloads(path: Path) -> Path:
    table = pa.table(
        {
            "vector": [[1.0], [2.0]],
            "payload": [{"a": 1}, None],
            "title": ["x", "y"],
            "day": [date(2026, 11, 20), None],
        }
    )
    pq.write_table(table, path)
    return path


def test_parquet_payload_column(tmp_path: Path) -> None:
    """The objects of a column named payload are the payloads."""
    assert payloads_of(read(parquet_with_payloads(tmp_path / "x.parquet"))) == [{"a": 1}, None]


def test_parquet_payload_of_columns(tmp_path: Path) -> None:
    """Named columns are gathered into a payload, dates as text."""
    path = parquet_with_payloads(tmp_path / "x.parquet")
    assert payloads_of(read(path, payload=("title", "day"))) == [
        {"title": "x", "day": "2026-11-20"},
        {"title": "y", "day": None},
    ]


def test_parquet_payload_as_json_text(tmp_path: Path) -> None:
    """A payload column of text is read as JSON."""
    table = pa.table({"vector": [[1.0]], "payload": ['{"a": [1, 2]}']})
    pq.write_table(table, tmp_path / "x.parquet")
    assert payloads_of(read(tmp_path / "x.parquet")) == [{"a": [1, 2]}]


def test_json_lines_payloads(tmp_path: Path) -> None:
    """The object in payload is the payload, or the fields that are named."""
    lines = [
        '{"id": "a", "vector": [1], "payload": {"x": 1}, "t": 2}',
        '{"id": "b", "vector": [2]}',
    ]
    path = write_lines(tmp_path / "x.jsonl", lines)
    assert payloads_of(read(path)) == [{"x": 1}, None]
    assert payloads_of(read(path, payload=("t", "absent"))) == [{"t": 2}, {}]


GOOD = '{"id": 1, "vector": [1, 2]}'
BAD_LINES = {
    "{": "the line is no JSON",
    "[1]": "the line is no JSON object",
    '{"id": 2}': "vector: expected an array of numbers, got NoneType",
    '{"id": 2, "vector": ["1", "2"]}': "vector: expected an array of numbers, got list",
    '{"id": 2, "vector": [[1], [2, 3]]}': "vector: expected an array of numbers, got list",
    '{"id": 2, "vector": [1, 2], "payload": {"x": NaN}}': "payload: expected finite numbers, got others",
    '{"id": 2, "vector": []}': "vector: expected 2 numbers, got 0",
    '{"id": 2, "vector": [1, 2, 3]}': "vector: expected 2 numbers, got 3",
    '{"id": true, "vector": [1, 2]}': "id: expected an integer or a string, got bool",
    '{"vector": [1, 2]}': "id: expected an integer or a string, got NoneType",
    '{"id": 2, "vector": [1, 2], "payload": 7}': "payload: expected an object, got int",
}


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("batch_rows", [1, 2, 10])
def test_bad_lines_are_reported(bad: str, batch_rows: int, tmp_path: Path) -> None:
    """A line that cannot be read is named by its row; the lines around it are kept."""
    path = write_lines(tmp_path / "x.jsonl", [GOOD, bad, GOOD])
    batches = read(path, batch_rows)
    assert faults_of(batches) == {1: BAD_LINES[bad]}
    assert ids_of(batches) == [1, 1]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    """Blank lines count for nothing."""
    path = write_lines(tmp_path / "x.jsonl", ['{"vector": [1]}', "", "  ", '{"vector": [2]}'])
    assert ids_of(read(path)) == [0, 1]


@pytest.mark.parametrize("write", WRITERS[1:])
def test_a_missing_field_is_named(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """A field that is not there is an error (or a refused row) that lists those that are."""
    path = write(tmp_path / "items")
    try:
        faults = faults_of(read(path, vector="title"))
    except InvalidRequest as error:
        faults = dict.fromkeys(range(7), str(error))
    assert len(faults) == 7
    assert all("a field 'title'" in text and "id" in text for text in faults.values())


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    """An array of Python objects is refused, since reading it would run code."""
    for name in ("x.npy", "x.npz"):
        objects = np.array([{"a": 1}], dtype=object)
        save = np.save if name == "x.npy" else np.savez
        save(tmp_path / name, objects)
        with pytest.raises(InvalidRequest):
            read(tmp_path / name, vector="arr_0")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"\x93NUMPY\x01\x00", b"PAR1PAR1"])
def test_damaged_files_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    """A file that is not what its suffix says is refused by name."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=f"expected a readable {suffix[1:]}, got .*x{suffix}"):
        read(path)


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    """A matrix that was cut off is refused before its first row is read."""
    path = write_npy(tmp_path / "items")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InvalidRequest, match=r"expected a readable npy"):
        read(path)


def test_unknown_suffixes_name_the_known_ones(tmp_path: Path) -> None:
    """Another suffix is refused with the list of those that can be loaded."""
    with pytest.raises(InvalidRequest, match=r"\.npy or .*\.bin, or --format, got x\.pkl"):
        read(tmp_path / "x.pkl")


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_vectors_must_be_a_matrix(shape: tuple[int, ...], tmp_path: Path) -> None:
    """An array that is no matrix is refused with its shape."""
    np.save(tmp_path / "x.npy", np.zeros(shape))
    with pytest.raises(InvalidRequest, match="expected a matrix, one vector a row, got an array"):
        read(tmp_path / "x.npy")
