"""The rows that a search may not find, by id: looked up once a request and part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fanlight.model import IdColumn, Rows
from fanlight_server.index.bits import Bits, packed

if TYPE_CHECKING:
    from fanlight_server.index.view import Part


class Excluded:
    """Columns of ids, and the rows of them in the parts of one view. For one search.

    Args:
        columns: of ids, each ascending, each id once.
    """

    def __init__(self, columns: Sequence[IdColumn]) -> None:
        self._columns = [column for column in columns if len(column)]
        self._kept: dict[int, Bits] = {}

    def kept(self, part: Part) -> Bits | None:
        """Tell which rows of a part are not excluded: packed bits; None for all of them."""
        if not self._columns:
            return None
        bits = self._kept.get(id(part))
        if bits is None:
            rows = np.ones(len(part.block), dtype=np.bool_)
            for column in self._columns:
                rows[_rows_of(part, column)] = False
            bits = self._kept[id(part)] = packed(rows)
        return bits


def _rows_of(part: Part, column: IdColumn) -> Rows:
    """Find the rows with these ids, looking the fewer up among the more."""
    ids = part.block.ids
    if len(ids) > len(column):
        rows = part.rows_of(column)
        return rows[rows >= 0]
    at = np.minimum(np.searchsorted(column, ids), len(column) - 1)
    return np.flatnonzero(column[at] == ids)
