"""JSON Lines: an object on each line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.errors import InvalidRequest
from fanlight.loading.rows import (
    ID_NAMES,
    PAYLOAD_NAMES,
    VECTOR_NAMES,
    Array,
    Fields,
    Payload,
    Source,
    optional,
    required,
)
from fanlight.loading.text import Read, batches, checked_dim, count_rows, rows_of


def open_json_lines(path: Path, fields: Fields, batch_rows: int) -> Source:
    """Open a file of JSON objects; blank lines are no rows."""
    return Source(count_rows(path), batches(rows_of(path), _JsonReader(fields), batch_rows))


class _JsonReader:
    """Reads lines; the first good one decides the fields and the dimension."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._id: str | None = None
        self._vector = ""
        self._dim = 0

    def read(self, row: int, line: bytes) -> Read:
        """Read one line."""
        item, foreign = _parse(line)
        if not self._dim:
            self._id = optional(self._fields.id, ID_NAMES, item, "id")
            self._vector = required(self._fields.vector, VECTOR_NAMES, item, "vector")
        vector = _numbers(item.get(self._vector))
        dim = checked_dim(len(vector), self._dim)
        chosen = row if self._id is None else _checked_id(item.get(self._id))
        payload = self._payload(item)
        if foreign:
            _check_finite(payload)
        self._dim = dim
        return chosen, vector, payload

    @staticmethod
    def show(line: bytes) -> str:
        """Give the line as text."""
        return line.decode("utf-8", "backslashreplace").rstrip("\r\n")

    def _payload(self, item: dict[str, Any]) -> Payload:
        if self._fields.payload:
            return {name: item[name] for name in self._fields.payload if name in item}
        value = item.get(PAYLOAD_NAMES[0])
        if value is not None and not isinstance(value, dict):
            raise InvalidRequest.of_field("payload", "an object", type(value).__name__)
        return value


def _parse(line: bytes) -> tuple[dict[str, Any], bool]:
    """Read an object, and whether NaN or Infinity, which JSON lacks, stand in it.

    Python writes them all the same. In a vector they are found by whoever judges vectors.
    """
    foreign: list[float] = []

    def constant(name: str) -> float:
        foreign.append(float(name))
        return foreign[-1]

    try:
        item = json.loads(line, parse_constant=constant)
    except (ValueError, RecursionError):
        raise InvalidRequest("the line is no JSON") from None
    if not isinstance(item, dict):
        raise InvalidRequest("the line is no JSON object")
    return item, bool(foreign)


def _numbers(value: object) -> Array:
    try:
        vector = np.asarray(value)
    except ValueError:
        vector = np.asarray(None)
    if vector.ndim == 1 and not len(vector) and isinstance(value, list):
        return np.empty(0, np.float64)
    if vector.dtype.kind not in "fiu" or vector.ndim != 1:
        raise InvalidRequest.of_field("vector", "an array of numbers", type(value).__name__)
    return vector


def _checked_id(value: object) -> int | str:
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    raise InvalidRequest.of_field("id", "an integer or a string", type(value).__name__)


def _check_finite(payload: Payload) -> None:
    try:
        json.dumps(payload, allow_nan=False)
    except ValueError:
        raise InvalidRequest.of_field("payload", "finite numbers", "others") from None
