"""Word vectors: GloVe's text, word2vec's and fastText's text, word2vec's binary. Ids are words.

Formats: "word x1 ... xn" a line; word2vec puts "rows dim" on a line before, and its binary form
holds "word", a space, and dim little-endian float32 for each (Mikolov's tool ends it with "\\n").
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.loading.rows import Array, Batch, Fields, Source
from fanlight.loading.text import Read, batches, checked_dim, count_rows, open_bytes, rows_of

# Longer words stand in no vocabulary: it is no file of this format.
_WORD_BYTES_MAX = 4_096
_DIM_MAX = 65_536


def open_text(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open words and numbers; whether a header stands before them is seen from the first line."""
    del fields
    with open_bytes(path) as file:
        first = file.readline()
    header = _header(first)
    # The words of some vocabularies hold spaces, those of the first line do not.
    dim = header[1] if header else len(first.split()) - 1
    if not 1 <= dim <= _DIM_MAX:
        raise InvalidRequest.of_field("file", "a word and numbers a line", path.name)
    total = header[0] if header else count_rows(path)
    return Source(total, batches(rows_of(path, int(bool(header))), _WordReader(dim), batch_rows))


def _header(line: bytes) -> tuple[int, int] | None:
    """Read "rows dim"; None when the line is none, as with GloVe."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1])


class _WordReader:
    """Reads lines of a word and `dim` numbers."""

    def __init__(self, dim: int) -> None:
        self._dim = dim

    def read(self, row: int, line: bytes) -> Read:
        """Read one line: numbers from the right, what is left is the word."""
        del row
        word, *cells = line.rstrip().rsplit(b" ", self._dim)
        checked_dim(len(cells), self._dim)
        try:
            text, vector = word.decode(), np.array(cells, dtype=np.float32)
        except UnicodeDecodeError:
            raise InvalidRequest.of_field("id", "a word in UTF-8", "other bytes") from None
        except ValueError:
            raise InvalidRequest.of_field("vector", "numbers", "other text") from None
        if not text:
            raise InvalidRequest.of_field("id", "a word", "none")
        return text, vector, None

    @staticmethod
    def show(line: bytes) -> str:
        """Give the line as text."""
        return line.decode("utf-8", "backslashreplace").rstrip("\r\n")


def open_binary(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open word2vec's binary form.

    Raises:
        InvalidRequest: the header is none. A file that ends too early, or a word that is no
            UTF-8, is refused while it is read: what follows could not be told apart.
    """
    del fields
    with open_bytes(path) as file:
        header = _header(file.readline(64))
    if header is None or not 1 <= header[1] <= _DIM_MAX:
        raise InvalidRequest.of_field("file", 'a header "rows dim"', path.name)
    return Source(header[0], _binary_batches(path, *header, batch_rows))


def _binary_batches(path: Path, total: int, dim: int, batch_rows: int) -> Iterator[Batch]:
    first = 0
    with open_bytes(path) as file:
        file.readline(64)
        words = _words(file, total, dim)
        while chunk := list(islice(words, batch_rows)):
            names, vectors = zip(*chunk, strict=True)
            rows = np.arange(first, first + len(chunk))
            yield Batch(list(names), np.stack(vectors), None, rows)
            first += len(chunk)


def _words(file: IO[bytes], total: int, dim: int) -> Iterator[tuple[str, Array]]:
    for row in range(total):
        word = bytearray()
        while (byte := file.read(1)) != b" ":
            if not byte or len(word) > _WORD_BYTES_MAX:
                raise InvalidRequest.of_field("file", f"{total} words", f"{row}, then none")
            if word or byte != b"\n":
                word += byte
        numbers = file.read(4 * dim)
        if len(numbers) < 4 * dim:
            raise InvalidRequest.of_field("file", f"{total} words", f"{row}, and a part of one")
        try:
            yield word.decode(), np.frombuffer(numbers, dtype="<f4")
        except UnicodeDecodeError:
            raise InvalidRequest.of_field(f"row {row}", "a word in UTF-8", "other bytes") from None
