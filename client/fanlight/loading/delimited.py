"""CSV and TSV with a header: the vector as a list in one column, or a number in each of many."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.loading.rows import (
    ID_NAMES,
    VECTOR_NAMES,
    Array,
    Fields,
    Payload,
    Source,
    optional,
    required,
)
from fanlight.loading.text import Read, batches, checked_dim, open_bytes

# Columns v0, v1, ... or emb_0001, emb_0002, ...: a name and a number.
_NUMBERED = re.compile(r"(.*?)(\d+)\Z")
# A cell may hold a long text; the csv module's own limit is 128 KiB.
_CELL_CHARS_MAX = 1 << 24


def open_delimited(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open a file whose first line names the columns.

    The vectors are lists in the column that is named, as "[0.5, 1]" or "0.5 1"; or numbers in the
    columns whose names are that name and a number. Ids that are all digits are integers.
    """
    csv.field_size_limit(_CELL_CHARS_MAX)
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    with _text(path) as text:
        header = next(csv.reader(text, delimiter=delimiter, strict=True), [])
    reader = _CellReader(header, fields)
    return Source(None, batches(_rows(path, delimiter), reader, batch_rows))


def _text(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_bytes(path), "utf-8-sig", newline="")


def _rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    """Read what follows the header; blank lines are no rows."""
    with _text(path) as text:
        lines = csv.reader(text, delimiter=delimiter, strict=True)
        next(lines, None)
        yield from _good_and_bad(lines)


def _good_and_bad(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    """Give an empty row for what is no CSV, which cannot be read."""
    while True:
        try:
            cells = next(lines, None)
        except csv.Error:
            yield []
            continue
        if cells is None:
            return
        if cells:
            yield cells


class _CellReader:
    """Reads the cells of a row."""

    def __init__(self, header: Sequence[str], fields: Fields) -> None:
        self._header = list(header)
        place = {name: i for i, name in enumerate(self._header)}
        self._vector = _vector_columns(fields.vector, self._header)
        id_name = optional(fields.id, ID_NAMES, place, "id")
        self._id = None if id_name is None else place[id_name]
        names = fields.payload
        self._payload = [(name, place[required(name, (), place, "payload")]) for name in names]
        self._dim = 0

    def read(self, row: int, line: list[str]) -> Read:
        """Read one row of cells."""
        if len(line) != len(self._header):
            raise InvalidRequest.of_field("row", f"{len(self._header)} cells", str(len(line)))
        vector = self._numbers(line)
        self._dim = checked_dim(len(vector), self._dim)
        chosen = row if self._id is None else _id_of(line[self._id])
        payload: Payload = {n: _value(line[i]) for n, i in self._payload} or None
        return chosen, vector, payload

    @staticmethod
    def show(line: list[str]) -> str:
        """Give the cells as a line of CSV."""
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(line)
        return text.getvalue()

    def _numbers(self, line: list[str]) -> Array:
        cells = [line[i] for i in self._vector]
        if len(cells) == 1:
            cells = cells[0].strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
        try:
            return np.array(cells, dtype=np.float32)
        except ValueError:
            raise InvalidRequest.of_field("vector", "numbers", "other text") from None


def _vector_columns(name: str | None, header: Sequence[str]) -> list[int]:
    """Find the column that is named, or those of that name and a number, by their numbers."""
    single = name if name is not None else next((n for n in VECTOR_NAMES if n in header), None)
    if single in header:
        return [header.index(single)]
    groups: dict[str, list[tuple[int, int]]] = {}
    for place, column in enumerate(header):
        if found := _NUMBERED.fullmatch(column):
            groups.setdefault(found[1], []).append((int(found[2]), place))
    prefix = max(groups, key=lambda p: len(groups[p]), default=None) if name is None else name
    if prefix is None or prefix not in groups:
        expected = f"a column {name or ' or '.join(VECTOR_NAMES)}, or numbered columns"
        raise InvalidRequest.of_field("vector", expected, ", ".join(header) or "no header")
    return [place for _, place in sorted(groups[prefix])]


def _id_of(cell: str) -> int | str:
    if not cell:
        raise InvalidRequest.of_field("id", "an integer or a string", "an empty cell")
    return int(cell) if cell.isascii() and cell.removeprefix("-").isdigit() else cell


def _value(cell: str) -> int | float | str | None:
    """Take a cell for what it looks like: CSV has no types."""
    if not cell:
        return None
    for kind in (int, float):
        try:
            number = kind(cell)
        except ValueError:
            continue
        # Leading zeros, underscores and the like are names that happen to have digits.
        return number if cell.isascii() and np.isfinite(number) and _plain(cell) else cell
    return cell


def _plain(cell: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", cell) is not None
