"""Counting the values of a field over some rows."""

from __future__ import annotations

from collections import Counter

import numpy as np

from fanlight.filters import FieldType, Value
from fanlight.model import Rows
from fanlight_server.index.bits import Bitmap
from fanlight_server.index.columns import Column, HeadColumn, Postings


def counted(column: Column, rows: Bitmap) -> Counter[Value]:
    """Count rows by the values of a column; a row with a value twice counts once.

    Args:
        column: of the field.
        rows: (n,) bool, the rows to count.
    """
    places, of_rows = _entries(column)
    # the values of a row stand in order of arrival, so equal ones meet when sorted by value
    first = np.ones(len(places), dtype=np.bool_)
    first[1:] = (places[1:] != places[:-1]) | (of_rows[1:] != of_rows[:-1])
    counts = np.bincount(places[first & rows[of_rows]])
    present = np.flatnonzero(counts)
    values = _values(column, present)
    return Counter(dict(zip(values, counts[present].tolist(), strict=True)))


def _entries(column: Column) -> tuple[Rows, Rows]:
    """List the values of a column by value: the place of each in it, and its row."""
    if isinstance(column, Postings):
        bounds = column.bounds.astype(np.int64)
        places = np.repeat(np.arange(len(column.keys)), np.diff(bounds))
        return places, column.rows.astype(np.int64)
    order = np.argsort(column.keys, kind="stable")
    keys = column.keys[order]
    begins = np.ones(len(keys), dtype=np.bool_)
    begins[1:] = keys[1:] != keys[:-1]
    # the place of a value is that of its first entry
    firsts = order[np.flatnonzero(begins)]
    return firsts[np.cumsum(begins) - 1], column.rows[order].astype(np.int64)


def _values(column: Column, places: Rows) -> list[Value]:
    keys = column.keys[places]
    if column.type_ is FieldType.BOOL:
        keys = keys.astype(np.bool_)
    if column.type_ is not FieldType.KEYWORD:
        numbers: list[Value] = keys.tolist()
        return numbers
    if isinstance(column, HeadColumn):
        names = list(column.codes)
        return [names[key] for key in keys.tolist()]
    assert column.keywords is not None
    return [column.keywords.value_at(place) for place in places.tolist()]
