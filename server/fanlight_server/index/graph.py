"""HNSW graphs as arrays, and how they are built."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.model import CollectionSpec

Words = NDArray[np.uint32]

# Rows added between two looks at the stop signal: about 0.1 s of one core at 784 dimensions.
_ADD_ROWS = 1_024
# How long such a step may wait for cores that nobody else wants: searches beside a build then
# take hardly longer, and where all cores stay taken it goes on nevertheless.
_PATIENCE_S = 4.0


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


@dataclass(slots=True)
class Effort:
    """How a build may use the cores, and what it got of them.

    Attributes:
        threads: threads to build with. More than one makes the graph depend on their timing.
        stopped: asked about ten times a second whether to stop.
        urgent: asked as often whether to take part of the cores even from others, at the priority
            of the calling thread, rather than what they leave.
        waited_s: seconds that the build was not running though it could have.
    """

    threads: int = 1
    stopped: Callable[[], bool] = lambda: False
    urgent: Callable[[], bool] = lambda: True
    waited_s: float = 0.0


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
    while len(builder) < len(codes):
        if effort.stopped():
            raise BuildStopped
        stop = min(len(builder) + _ADD_ROWS, len(codes))
        started = time.monotonic()
        cpu_s = builder.add(stop, effort.threads, 0.0 if effort.urgent() else _PATIENCE_S)
        effort.waited_s += max(0.0, time.monotonic() - started - cpu_s / effort.threads)
    return GraphArrays(*builder.finish())
