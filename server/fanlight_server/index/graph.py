"""HNSW graphs as arrays, and how they are built."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.model import CollectionSpec
from fanlight_server.index.effort import Effort

Words = NDArray[np.uint32]


class GraphArrays(NamedTuple):
    """A graph as arrays; row r of each belongs to row r of a block.

    Attributes:
        links: (rows, 1 + 2m) uint32: number of neighbours on the lowest level, then their rows.
        levels: (rows,) uint8: highest level of each row.
        upper: (sum of levels, 1 + m) uint32: the same for levels 1 and up, row after row.
        entry_point: row where every walk starts.
        top_level: its level.
    """

    links: Words
    levels: NDArray[np.uint8]
    upper: Words
    entry_point: int
    top_level: int


def build(
    spec: CollectionSpec,
    codes: NDArray[np.uint8],
    base: GraphArrays | None,
    effort: Effort,
) -> GraphArrays:
    """Build a graph over rows, or extend one that holds the first of them.

    Args:
        spec: metric, dim, m and ef_construction.
        codes: (n, code bytes) uint8, the codes of all rows.
        base: graph of the first rows, to be extended, or of all; None to start afresh.
        effort: how to build; told how long it waited.

    Raises:
        BuildStopped: `effort.stopped` said so.
    """
    if base is not None and len(base.levels) == len(codes):
        return base
    builder = kernel.Builder(
        spec.metric.value, codes, spec.dim, spec.m, spec.ef_construction, base=base
    )
    effort.spend_on(builder)
    return GraphArrays(*builder.finish())
