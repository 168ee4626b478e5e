"""Rows and graphs for the kernel's tests, and brute force over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tests import oracle
from tests.pieces import spec_of

import fanlight_kernel as kernel
from fanlight.model import Floats, Metric
from fanlight.vectors import lengths_of
from fanlight_server.index import graph
from fanlight_server.index.scoring import walked_form

Bits = NDArray[np.uint8]
MetricName = Literal["cosine", "dot", "l2"]
METRICS: tuple[MetricName, ...] = ("cosine", "dot", "l2")


@dataclass(frozen=True, slots=True)
class Case:
    """Vectors, and what the kernel makes of them."""

    metric: MetricName
    vectors: Floats
    rows: kernel.Rows
    arrays: graph.GraphArrays
    graph: kernel.Graph


def rows_of(
    metric: MetricName, vectors: Floats, order: NDArray[np.int64] | None = None
) -> kernel.Rows:
    """Make rows with codes."""
    lengths = lengths_of(vectors)
    return kernel.Rows(metric, vectors, lengths, order, kernel.encode(metric, vectors, lengths))


def arrays_of(metric: MetricName, vectors: Floats) -> graph.GraphArrays:
    """Build a graph with hnswlib; row r of it is row r of the vectors."""
    spec = spec_of(vectors.shape[1], Metric(metric))
    walked = walked_form(spec.metric, vectors, lengths_of(vectors))
    arrays, order = graph.build(spec, walked, None, threads=1, stopped=lambda: False)
    np.testing.assert_array_equal(order, np.arange(len(vectors)))
    return arrays


def graph_of(rows: kernel.Rows, arrays: graph.GraphArrays) -> kernel.Graph:
    """Load a graph."""
    return kernel.Graph(
        rows, arrays.links, arrays.levels, arrays.upper, arrays.entry_point, arrays.top_level
    )


def case_of(metric: MetricName, vectors: Floats) -> Case:
    """Build everything over some vectors."""
    rows, arrays = rows_of(metric, vectors), arrays_of(metric, vectors)
    return Case(metric, vectors, rows, arrays, graph_of(rows, arrays))


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
