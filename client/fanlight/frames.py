"""Data frames of pandas and polars as the columns that `upsert` takes; neither is imported."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest
from fanlight.inputs import Payload, refuse_row


class Columns(NamedTuple):
    """What `upsert` takes, in its order.

    Attributes:
        ids: n integers or strings.
        vectors: (n, dim) numbers.
        payloads: n dicts; None when no column was asked for.
    """

    ids: list[Any]
    vectors: NDArray[Any]
    payloads: Sequence[Payload] | None


def from_frame(
    frame: Any,
    *,
    id: str | None = "id",
    vector: str | Sequence[str] = "vector",
    payload: Sequence[str] | None = None,
) -> Columns:
    """Take a pandas or polars data frame apart: `collection.upsert(*from_frame(frame))`.

    Args:
        frame: the data frame.
        id: the column of the ids; None for row numbers.
        vector: a column of lists (or of polars' `Array`), or the columns of one number each.
        payload: the columns that make up the payloads; None for all others. Missing values are
            left out; dates become ISO 8601 text.

    Raises:
        InvalidRequest: it is no data frame, a column is not there, or a row's vector is missing or
            of another length than the first; the error names the row.
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "__getitem__"):
        got = f"a {type(frame).__name__}"
        raise InvalidRequest.of_field("frame", "a pandas or polars data frame", got)
    names = [str(name) for name in frame.columns]
    used = [vector] if isinstance(vector, str) else list(vector)
    chosen = payload
    if chosen is None:
        chosen = [name for name in names if name not in used and name != id]
    for name in (*used, *chosen, *(() if id is None else (id,))):
        if name not in names:
            raise InvalidRequest.of_field("frame", f"a column {name!r}", ", ".join(names))
    return Columns(
        list(range(len(frame))) if id is None else _values(frame[id]),
        _matrix(frame, vector),
        _payloads(frame, list(chosen)) if chosen else None,
    )


def _values(column: Any) -> list[Any]:
    """Give a column as Python's own values; both libraries call this so."""
    found: list[Any] = column.to_list()
    return found


def _matrix(frame: Any, vector: str | Sequence[str]) -> NDArray[Any]:
    if not isinstance(vector, str):
        return np.stack([np.asarray(frame[name].to_numpy()) for name in vector], axis=1)
    array = np.asarray(frame[vector].to_numpy())
    if array.ndim == 2:
        return array
    rows = [_row(row, value) for row, value in enumerate(array.tolist())]
    for row, found in enumerate(rows):
        if len(found) != len(rows[0]):
            refuse_row(row, vector, f"{len(rows[0])} numbers", str(len(found)))
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def _row(row: int, value: Any) -> NDArray[Any]:
    found = np.asarray(value)
    if found.ndim != 1 or found.dtype.kind not in "fiu":
        refuse_row(row, "vector", "a list of numbers", type(value).__name__)
    return found


def _payloads(frame: Any, names: list[str]) -> list[Payload]:
    columns = [[_json(value) for value in _values(frame[name])] for name in names]
    return [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns, strict=True)
    ]


def _json(value: Any) -> Any:
    """Turn a cell into what JSON has; None for what is missing (None, NaN, NaT)."""
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_json(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:  # NaN and NaT alone differ from themselves
        return None
    return value.isoformat() if isinstance(value, (datetime, date)) else value
