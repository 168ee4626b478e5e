"""Rows and graphs for the kernel's tests, and brute force over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import hnswlib
import numpy as np
from numpy.typing import NDArray
from tests import oracle

import fanlight_kernel as kernel
from fanlight.model import Floats, Metric

Bits = NDArray[np.uint8]
Words = NDArray[np.uint32]
MetricName = Literal["cosine", "dot", "l2"]
METRICS: tuple[MetricName, ...] = ("cosine", "dot", "l2")
M = 8


@dataclass(frozen=True, slots=True)
class GraphArrays:
    """What a `kernel.Graph` is made of."""

    links: Words
    levels: Bits
    upper: Words
    entry_point: int
    top_level: int


@dataclass(frozen=True, slots=True)
class Case:
    """Vectors, what the kernel makes of them, and hnswlib's index with the same graph."""

    metric: MetricName
    vectors: Floats
    rows: kernel.Rows
    arrays: GraphArrays
    graph: kernel.Graph
    index: Any


def rows_of(
    metric: MetricName, vectors: Floats, order: NDArray[np.int64] | None = None
) -> kernel.Rows:
    """Make rows with codes."""
    lengths = kernel.lengths(vectors)
    return kernel.Rows(metric, vectors, lengths, order, kernel.encode(metric, vectors, lengths))


def walked_form(metric: MetricName, vectors: Floats) -> Floats:
    """Give vectors the form that hnswlib compares: of unit length for cosine."""
    if metric != "cosine":
        return vectors
    lengths = kernel.lengths(vectors)
    unit: Floats = (vectors / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(np.float32)
    return unit


def index_of(metric: MetricName, vectors: Floats) -> Any:
    """Build a graph with hnswlib; node r of it is row r of the vectors."""
    index = hnswlib.Index("l2" if metric == "l2" else "ip", vectors.shape[1])
    index.init_index(len(vectors), M=M, ef_construction=64)
    index.add_items(walked_form(metric, vectors), num_threads=1)
    index.set_num_threads(1)
    return index


def arrays_of(index: Any, rows: int) -> GraphArrays:
    """Take hnswlib's graph apart."""
    state = index.__getstate__()[0]
    words = state["size_data_per_element"] // 4
    nodes = state["data_level0"].view(np.uint32).reshape(-1, words)[:rows]
    return GraphArrays(
        links=np.ascontiguousarray(nodes[:, : 1 + 2 * M]),
        levels=state["element_levels"][:rows].astype(np.uint8),
        upper=np.ascontiguousarray(state["link_lists"].view(np.uint32).reshape(-1, 1 + M)),
        entry_point=state["enterpoint_node"],
        top_level=state["max_level"],
    )


def graph_of(rows: kernel.Rows, arrays: GraphArrays) -> kernel.Graph:
    """Load a graph."""
    return kernel.Graph(
        rows, arrays.links, arrays.levels, arrays.upper, arrays.entry_point, arrays.top_level
    )


def case_of(metric: MetricName, vectors: Floats) -> Case:
    """Build everything over some vectors."""
    rows, index = rows_of(metric, vectors), index_of(metric, vectors)
    arrays = arrays_of(index, len(vectors))
    return Case(metric, vectors, rows, arrays, graph_of(rows, arrays), index)


def floats(seed: int, rows: int, dim: int) -> Floats:
    """Draw vectors from a normal distribution."""
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def bits_of(allowed: NDArray[np.bool_]) -> Bits:
    """Pack a bitmap as the kernel reads it."""
    return np.packbits(allowed, bitorder="little")


def best(
    metric: MetricName,
    queries: Floats,
    vectors: Floats,
    k: int,
    order: NDArray[np.int64] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> kernel.Found:
    """Find the k best allowed rows by brute force."""
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), np.nan, dtype=np.float32)
    ranks = np.arange(len(vectors)) if order is None else order
    candidates = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    for row, query in enumerate(queries):
        scored = oracle.scores(Metric(metric), query, vectors[candidates])
        chosen = np.lexsort((ranks[candidates], -scored))[:k]
        rows[row, : len(chosen)], scores[row, : len(chosen)] = candidates[chosen], scored[chosen]
    counts = np.full(len(queries), min(k, len(candidates)), dtype=np.int64)
    return kernel.Found(rows, scores, counts, len(queries))


def assert_found(got: kernel.Found, expected: kernel.Found) -> None:
    """Compare two answers row by row and score by score, to the last bit."""
    np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_array_equal(got.scores, expected.scores)
    np.testing.assert_array_equal(got.rows, expected.rows)
    assert got.done == expected.done


def recall(got: kernel.Found, expected: kernel.Found) -> float:
    """Tell the share of the true hits that were found."""
    found = [
        len(set(a) & set(b)) for a, b in zip(got.rows.tolist(), expected.rows.tolist(), strict=True)
    ]
    return sum(found) / int(expected.counts.sum())
