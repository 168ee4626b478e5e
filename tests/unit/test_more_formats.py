"""CSV, Arrow, safetensors and word vectors give the rows that were put into them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from safetensors.numpy import save_file

from fanlight.errors import InvalidRequest
from fanlight.loading import Batch, Fields, Kind, open_source

VECTORS = np.random.default_rng(5).standard_normal((7, 3)).astype(np.float32)
WORDS = ["the", "co-op", "naïve", "of", "…", "a", "17"]


def read(path: Path, batch_rows: int = 3, kind: str | None = None, **fields: Any) -> list[Batch]:
    source = open_source(path, Fields(**fields), batch_rows, kind)
    batches = list(source.batches)
    if source.total is not None:
        assert sum(batch.seen for batch in batches) == source.total
    return batches


def contents(batches: list[Batch]) -> tuple[list[Any], np.ndarray[Any, Any]]:
    ids = [value for batch in batches for value in list(batch.ids)]
    return ids, np.concatenate([batch.vectors for batch in batches if len(batch.rows)])


def numbers(vector: np.ndarray[Any, Any]) -> list[str]:
    return [repr(float(x)) for x in vector]


def glove(path: Path) -> Path:
    lines = [" ".join([w, *numbers(v)]) for w, v in zip(WORDS, VECTORS, strict=True)]
    path = path.with_suffix(".txt")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def word2vec_text(path: Path) -> Path:
    text = glove(path).read_text(encoding="utf-8")
    path = path.with_suffix(".vec")
    path.write_text(f"7 3\n{text}", encoding="utf-8")
    return path


def word2vec_gz(path: Path) -> Path:
    text = word2vec_text(path)
    path = path.with_name("words.txt.gz")
    path.write_bytes(gzip.compress(text.read_bytes()))
    return path


def binary(newlines: bool) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        end = b"\n" if newlines else b""
        rows = (w.encode() + b" " + v.tobytes() + end for w, v in zip(WORDS, VECTORS, strict=True))
        path = path.with_suffix(".bin")
        path.write_bytes(b"7 3\n" + b"".join(rows))
        return path

    return write


@pytest.mark.parametrize("write", [glove, word2vec_text, word2vec_gz, binary(True), binary(False)])
@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_word_vectors(write: Callable[[Path], Path], batch_rows: int, tmp_path: Path) -> None:
    """Text with a header or without, zipped or not, and both kinds of binary hold the same."""
    ids, vectors = contents(read(write(tmp_path / "words"), batch_rows))
    assert ids == WORDS
    np.testing.assert_array_equal(vectors, VECTORS)


def test_words_with_spaces(tmp_path: Path) -> None:
    """The numbers are taken from the right: some GloVe files have words with spaces."""
    path = tmp_path / "x.txt"
    path.write_text("a 1 2\n. . . 3 4\n")
    assert contents(read(path))[0] == ["a", ". . ."]


def test_bad_word_lines_are_reported(tmp_path: Path) -> None:
    """Each bad line is named, with what is wrong, and takes no other with it."""
    path = tmp_path / "x.txt"
    path.write_bytes(b"a 1 2\nb 3\nc x 4\n\xff 5 6\nd 7 8\n")
    batches = read(path)
    assert contents(batches)[0] == ["a", "d"]
    faults = {fault.row: (fault.kind, str(fault.error)) for b in batches for fault in b.faults}
    assert faults == {
        1: (Kind.DIMENSION, "vector: expected 2 numbers, got 1"),
        2: (Kind.UNREADABLE, "vector: expected numbers, got other text"),
        3: (Kind.UNREADABLE, "id: expected a word in UTF-8, got other bytes"),
    }


@pytest.mark.parametrize("cut", [1, 11, 30])
def test_a_binary_that_ends_too_early_is_refused(cut: int, tmp_path: Path) -> None:
    """It says how many words it should hold, and after how many it ended."""
    path = binary(False)(tmp_path / "words")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InvalidRequest, match=r"file: expected 7 words, got [456]"):
        read(path)


def csv_file(path: Path, header: list[str], rows: list[list[Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("style", ["[{}]", "{}"])
@pytest.mark.parametrize("between", [", ", " "])
def test_csv_with_a_list_in_a_cell(style: str, between: str, tmp_path: Path) -> None:
    """A vector may stand in one cell, in brackets or not, with commas or spaces."""
    cells = [style.format(between.join(numbers(vector))) for vector in VECTORS]
    rows = [[word, cell] for word, cell in zip(WORDS, cells, strict=True)]
    ids, vectors = contents(read(csv_file(tmp_path / "x.csv", ["id", "embedding"], rows)))
    assert ids == [*WORDS[:-1], 17]
    np.testing.assert_array_equal(vectors, VECTORS)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_csv_with_a_column_a_number(suffix: str, tmp_path: Path) -> None:
    """Numbered columns are put together by their numbers, wherever they stand."""
    header = ["e2", "sku", "e0", "e1", "price"]
    rows = [[v[2], 10 + i, v[0], v[1], f"{i}.50"] for i, v in enumerate(VECTORS.astype(object))]
    path = csv_file(tmp_path / f"x{suffix}", header, rows, "\t" if suffix == ".tsv" else ",")
    batches = read(path, id="sku", payload=("price",))
    ids, vectors = contents(batches)
    assert ids == list(range(10, 17))
    np.testing.assert_array_equal(vectors, VECTORS)
    assert (batches[0].payloads or [])[1] == {"price": 1.5}


def test_csv_cells_keep_what_they_say(tmp_path: Path) -> None:
    """A cell is a number only where it is written as one; leading zeros are part of a name."""
    rows = [["1 2", cell] for cell in ("007", "1e3", "x", "", "nan", "-2")]
    path = csv_file(tmp_path / "x.csv", ["vector", "code"], rows)
    found = [p for batch in read(path, payload=("code",)) for p in batch.payloads or []]
    assert [p and p["code"] for p in found] == ["007", 1000.0, "x", None, "nan", -2]


def test_bad_csv_rows_are_reported(tmp_path: Path) -> None:
    """Rows with missing cells, no id, other text or another dimension are named."""
    rows = [["a", "1 2"], ["b"], ["", "3 4"], ["c", "3 x"], ["d", "1"], ["e", "5 6"]]
    batches = read(csv_file(tmp_path / "x.csv", ["id", "vector"], rows))
    assert contents(batches)[0] == ["a", "e"]
    kinds = {fault.row: fault.kind for batch in batches for fault in batch.faults}
    assert kinds == {
        **dict.fromkeys((1, 2, 3), Kind.UNREADABLE),
        4: Kind.DIMENSION,
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_arrow_files(stream: bool, fixed: bool, tmp_path: Path) -> None:
    """Files and streams of record batches, of fixed or variable lists."""
    kind = pa.list_(pa.float32(), 3) if fixed else pa.list_(pa.float32())
    columns = [pa.array(WORDS), pa.array(VECTORS.tolist(), kind)]
    table = pa.table(columns, names=["id", "vector"])
    path = tmp_path / "x.arrow"
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    ids, vectors = contents(read(path))
    assert ids == WORDS
    np.testing.assert_array_equal(vectors, VECTORS)


def test_fixed_size_lists_are_not_copied(tmp_path: Path) -> None:
    """The vectors of a mapped Arrow file are views of the mapping."""
    flat = pa.array(VECTORS.ravel())
    table = pa.table({"vector": pa.FixedSizeListArray.from_arrays(flat, 3)})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    before = pa.total_allocated_bytes()
    (batch,) = read(tmp_path / "x.arrow", 100)
    assert not batch.vectors.flags.owndata
    assert pa.total_allocated_bytes() == before


def test_safetensors(tmp_path: Path) -> None:
    """A tensor is taken by its name, or because it is the only matrix."""
    path = tmp_path / "model.safetensors"
    save_file({"item_embedding.weight": VECTORS, "bias": np.zeros(3, np.float32)}, path)
    for name in (None, "item_embedding.weight"):
        ids, vectors = contents(read(path, vector=name))
        assert ids == list(range(7))
        np.testing.assert_array_equal(vectors, VECTORS)


def test_safetensors_with_several_matrices(tmp_path: Path) -> None:
    """Of several matrices one must be named; the refusal lists them with their shapes."""
    path = tmp_path / "model.safetensors"
    save_file({"users": VECTORS, "items": VECTORS[:2]}, path)
    with pytest.raises(InvalidRequest, match=r"items \[2, 3\]") as caught:
        read(path)
    assert "--vector-field" in str(caught.value)
    with pytest.raises(InvalidRequest, match="a field 'absent', got items, users"):
        read(path, vector="absent")
    path.write_bytes(b"rubbish")
    with pytest.raises(InvalidRequest, match=r"a readable \.safetensors"):
        read(path)


def test_a_type_that_numpy_lacks_is_named(tmp_path: Path) -> None:
    """Brain floats, as models are often saved in, are refused by their name."""
    path = tmp_path / "model.safetensors"
    header = b'{"w":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InvalidRequest, match="BF16"):
        read(path)


def test_a_format_may_be_named(tmp_path: Path) -> None:
    """A file with another suffix is read as what it is said to be."""
    path = glove(tmp_path / "words")
    other = path.rename(tmp_path / "words.dat")
    assert contents(read(other, kind="word-text"))[0] == WORDS
