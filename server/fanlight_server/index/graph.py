"""HNSW graphs as arrays, and how they are built."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.model import CollectionSpec

Words = NDArray[np.uint32]

# Rows added between two looks at the stop signal: about 0.1 s of one core at 784 dimensions.
_ADD_ROWS = 1_024
# How long such a step may wait for cores that nobody else wants. Searches beside a build then
# take hardly longer; where none of them ends for a long time, a shard still builds at least half
# as many rows a second.
_PATIENCE_S = 0.5


class BuildStopped(Exception):
    """The build was told to stop; nothing of it remains."""


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
    *,
    threads: int,
    stopped: Callable[[], bool],
) -> GraphArrays:
    """Build a graph over rows, or extend one that holds the first of them.

    Args:
        spec: metric, dim, m and ef_construction.
        codes: (n, code bytes) uint8, the codes of all rows.
        base: graph of the first rows, to be extended; None to start afresh.
        threads: threads to build with, at the priority of the calling one. More than one makes
            the graph depend on their timing.
        stopped: asked about ten times a second.

    Raises:
        BuildStopped: `stopped` said so.
    """
    builder = kernel.Builder(
        spec.metric.value, codes, spec.dim, spec.m, spec.ef_construction, base=base
    )
    while len(builder) < len(codes):
        if stopped():
            raise BuildStopped
        builder.add(min(len(builder) + _ADD_ROWS, len(codes)), threads, _PATIENCE_S)
    return GraphArrays(*builder.finish())


def lower_priority() -> None:
    """Let the calling thread, and those it starts, give way to searches (Linux)."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
