"""Rows in cells around centres: where walks look for allowed rows that are far from a query.

See docs/adr/0027-cells.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.model import CollectionSpec
from fanlight_server.index.effort import Effort

# Fewer rows are scanned at no great cost, and such segments are built all the time.
_ROWS_MIN = 8_192
# Cells for the square root of the rows. With half as many, searches for hits in a far tenth of 60,000 x 784
# found 0.87 of them instead of 0.92.
_CELLS_PER_ROOT = 4
# Past a million rows the time to build them grows as that of a graph does.
_CELLS_MAX = 4_096
# Centres stay for rows that come until this many times as many would be made.
_GROWTH = 1.5


class CellArrays(NamedTuple):
    """Cells as arrays.

    Attributes:
        centres: (cells, code bytes) uint8, the codes of the centres.
        bounds: (cells + 1,) uint32: the rows in cell c are `rows[bounds[c]:bounds[c + 1]]`.
        rows: (rows,) uint32, each row of a block once.
    """

    centres: NDArray[np.uint8]
    bounds: NDArray[np.uint32]
    rows: NDArray[np.uint32]


def build(
    spec: CollectionSpec, codes: NDArray[np.uint8], base: CellArrays | None, effort: Effort
) -> CellArrays | None:
    """Put rows into cells, or those that came into the cells that there are.

    Args:
        spec: metric and dim.
        codes: (n, code bytes) uint8, the codes of all rows.
        base: cells of the first rows, or of all; None to start afresh.
        effort: how to build; told how long it waited.

    Returns:
        The cells; None where rows are too few to need any.

    Raises:
        BuildStopped: `effort.stopped` said so.
    """
    if len(codes) < _ROWS_MIN:
        return None
    wanted = min(round(_CELLS_PER_ROOT * math.sqrt(len(codes))), _CELLS_MAX)
    if base is not None and wanted > _GROWTH * len(base.centres):
        base = None
    builder = kernel.CellBuilder(spec.metric.value, codes, spec.dim, wanted, base=base)
    effort.spend_on(builder)
    return CellArrays(*builder.finish())
