"""Graphs from the kernel's builder, and what must hold for every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tests.kernel.pieces import GraphArrays, MetricName, graph_of, rows_of

import fanlight_kernel as kernel
from fanlight.model import Floats


def codes_of(metric: MetricName, vectors: Floats) -> NDArray[np.uint8]:
    """Encode vectors."""
    return kernel.encode(metric, vectors, kernel.lengths(vectors))


def built(
    metric: MetricName,
    vectors: Floats,
    *,
    m: int = 8,
    ef: int = 64,
    seed: int = 0,
    threads: int = 1,
    stops: Sequence[int] = (),
    base: GraphArrays | None = None,
) -> GraphArrays:
    """Build a graph over vectors in steps, or extend one."""
    builder = kernel.Builder(
        metric,
        codes_of(metric, vectors),
        vectors.shape[1],
        m,
        ef,
        seed=seed,
        base=None
        if base is None
        else (base.links, base.levels, base.upper, base.entry_point, base.top_level),
    )
    for stop in (*stops, len(vectors)):
        builder.add(stop, threads)
    return GraphArrays(*builder.finish())


class Cells(NamedTuple):
    """What a `kernel.CellBuilder` gives."""

    centres: NDArray[np.uint8]
    bounds: NDArray[np.uint32]
    rows: NDArray[np.uint32]

    def cell_of(self) -> NDArray[np.int64]:
        """Tell the cell of each row."""
        cells = np.empty(len(self.rows), dtype=np.int64)
        cells[self.rows] = np.repeat(np.arange(len(self.centres)), np.diff(self.bounds))
        return cells


def cells_of(
    metric: MetricName,
    vectors: Floats,
    count: int,
    *,
    threads: int = 1,
    stops: tuple[int, ...] = (),
    base: Cells | None = None,
) -> Cells:
    """Put vectors into cells, in steps."""
    codes = codes_of(metric, vectors)
    builder = kernel.CellBuilder(metric, codes, vectors.shape[1], count, base=base)
    for stop in (*stops, builder.steps):
        builder.add(stop, threads)
    return Cells(*builder.finish())


def lists_of(lists: NDArray[np.uint32]) -> list[list[int]]:
    """Give the neighbours in each list of an array of lists."""
    return [entry[1 : 1 + entry[0]] for entry in lists.tolist()]


def assert_sound(metric: MetricName, vectors: Floats, arrays: GraphArrays) -> None:
    """Hold a graph to its form: no row lists itself or another twice, and all are reached."""
    graph_of(rows_of(metric, vectors), arrays)  # refuses what leads outside of the arrays
    owners = np.repeat(np.arange(len(arrays.levels)), arrays.levels).tolist()
    neighbours = lists_of(arrays.links)
    for row, listed in [*enumerate(neighbours), *zip(owners, lists_of(arrays.upper), strict=True)]:
        assert row not in listed
        assert len(set(listed)) == len(listed)
    reached, waiting = {arrays.entry_point}, [arrays.entry_point]
    while waiting:
        for row in neighbours[waiting.pop()]:
            if row not in reached:
                reached.add(row)
                waiting.append(row)
    assert len(reached) == len(vectors)
