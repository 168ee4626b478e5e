"""Brute force, one item at a time: what every search is compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fanlight.ids import empty, id_type_of
from fanlight.model import Floats, IdColumn, Metric
from fanlight.topk import TopK


def scores(metric: Metric, query: Floats, vectors: Floats) -> Floats:
    """Score items from the vectors as they were put, more precisely than float64, rounded once."""
    a, b = query.astype(np.float64), vectors.astype(np.float64)
    if metric is Metric.L2:
        return (-_dots(b - a, b - a)).astype(np.float32)
    if metric is Metric.DOT:
        return _dots(a, b).astype(np.float32)
    cosines = _dots(a, b) / (np.sqrt(_dots(a, a)) * np.sqrt(_dots(b, b)))
    rounded: Floats = np.clip(cosines, -1, 1).astype(np.float32)
    return rounded


def _dots(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.longdouble]:
    dots: NDArray[np.longdouble] = np.sum(a.astype(np.longdouble) * b, axis=-1, keepdims=True)
    return dots[..., 0]


def best(metric: Metric, queries: Floats, ids: IdColumn, vectors: Floats, k: int) -> TopK:
    """Find the k best items of each query, equal scores by ascending id, padded to k."""
    shape = (len(queries), k)
    hits = TopK(
        empty(id_type_of(ids), shape),
        np.full(shape, np.nan, dtype=np.float32),
        np.full(len(queries), min(k, len(ids)), dtype=np.int64),
    )
    names = ids.tolist()
    for row, query in enumerate(queries):
        scored = scores(metric, query, vectors).tolist()
        order = sorted(range(len(names)), key=lambda i: (-scored[i], names[i]))[:k]
        hits.ids[row, : len(order)] = [names[i] for i in order]
        hits.scores[row, : len(order)] = [scored[i] for i in order]
    return hits


def padded(hits: TopK, k: int) -> TopK:
    """Widen hits to k columns, so that they can be compared."""
    width = hits.ids.shape[1]
    ids = empty(id_type_of(hits.ids), (len(hits.ids), k))
    ids[:, :width] = hits.ids
    scores = np.pad(hits.scores, ((0, 0), (0, k - width)), constant_values=np.nan)
    return TopK(ids, scores, hits.counts)


def assert_equal(got: TopK, expected: TopK) -> None:
    """Compare two answers id by id and score by score, to the last bit."""
    k = expected.ids.shape[1]
    got = padded(got, k)
    np.testing.assert_array_equal(got.counts, expected.counts)
    np.testing.assert_array_equal(got.scores, expected.scores)
    np.testing.assert_array_equal(got.ids, expected.ids)


def recall(got: TopK, expected: TopK) -> float:
    """Tell the share of the true hits that were found."""
    found = [
        len(set(a) & set(b)) for a, b in zip(got.ids.tolist(), expected.ids.tolist(), strict=True)
    ]
    return sum(found) / expected.ids.size
