"""The columns of fields that were declared after the rows were written.

Law: a value comes from the payload that the row was written with. Where that is gone, since the
item was written again or deleted, the row is dead, or is by the time that its column is shown (see
`fanlight_server.index.index.Index.changing`), and nobody asks for its value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.model import IdColumn, Rows
from fanlight_server.index.bits import Bitmap
from fanlight_server.index.block import Block
from fanlight_server.index.effort import BuildStopped
from fanlight_server.index.fields import Fields, GrowingFields

# Given ids, the seqs of their rows and some fields: reads the values of each row.
ReadValues: TypeAlias = Callable[[IdColumn, Rows, Mapping[str, FieldType]], Sequence[FieldValues]]

# Rows read at a time: about 10 ms, during which other threads get the interpreter now and then.
_READ_ROWS = 1_024
_NO_VALUES: FieldValues = {}


def with_fields(
    block: Block,
    live: Bitmap,
    filterable: Mapping[str, FieldType],
    read: ReadValues,
    stopped: Callable[[], bool],
) -> Block:
    """Give a block the columns of these fields, and no others.

    Args:
        block: the rows; not those of a head that still grows.
        live: (rows,) bool, the rows whose values matter.
        filterable: the fields.
        read: gives values.
        stopped: asked now and then whether to stop.

    Raises:
        BuildStopped: `stopped` said so.
    """
    lacking = block.fields.lacking(filterable)
    columns = {n: block.fields.columns[n] for n in filterable if n not in lacking}
    if lacking:
        columns |= _read_fields(block, live, lacking, read, stopped).columns
    return replace(block, fields=Fields(len(block), columns))


def _read_fields(
    block: Block,
    live: Bitmap,
    lacking: Mapping[str, FieldType],
    read: ReadValues,
    stopped: Callable[[], bool],
) -> Fields:
    growing = GrowingFields(lacking)
    for start in range(0, len(block), _READ_ROWS):
        if stopped():
            raise BuildStopped
        stop = min(start + _READ_ROWS, len(block))
        rows = start + np.flatnonzero(live[start:stop])
        values = [_NO_VALUES] * (stop - start)
        found = read(block.ids[rows], block.seqs[rows], lacking)
        for row, of_row in zip(rows.tolist(), found, strict=True):
            values[row - start] = of_row
        growing.append(stop - start, values)
    return growing.shown()
