"""Recall of the index against exact search, by `ef_search`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest
from fanlight.model import Hits

DEFAULT_EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# Two scores that differ by less are one: the graph and the scan add up in another order.
_EQUAL_SCORES = 1e-6
# Queries of one call: enough to keep every core busy, few enough for its deadline.
_BATCH = 256


# `Collection.search` or `Collection.search_by_id`.
Search: TypeAlias = Callable[..., Hits]


@dataclass(frozen=True, slots=True)
class Point:
    """What one `ef_search` gives.

    Attributes:
        ef_search: candidates the walk keeps.
        recall: mean share of the exact k nearest that were found, in [0, 1].
        queries_per_s: in batches of 256, with whatever else the machines did.
    """

    ef_search: int
    recall: float
    queries_per_s: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Recall by `ef_search`, for one kind of search.

    Attributes:
        k: hits wanted.
        queries: how many were asked.
        points: by ascending `ef_search`.
        exact_queries_per_s: of the exact search it was compared with.
    """

    k: int
    queries: int
    points: tuple[Point, ...]
    exact_queries_per_s: float

    def cheapest(self, recall: float) -> int | None:
        """Give the smallest `ef_search` that reaches a recall; None when none does."""
        return next((p.ef_search for p in self.points if p.recall >= recall), None)


def measure_recall(
    search: Search,
    queries: Any,
    *,
    k: int = 10,
    efs: Sequence[int] = DEFAULT_EFS,
    progress: Callable[[], object] = lambda: None,
    **parameters: Any,
) -> Curve:
    """Ask the same queries exactly and with each `ef_search`, and compare.

    A hit counts when its score reaches that of the exact k-th: of items that are equally near,
    any will do. A query with fewer than k items is judged by as many as there are.

    Args:
        search: asks the collection; `Collection.search` for vectors, `search_by_id` for ids.
        queries: (n, dim) vectors, or n ids; a few hundred that are like the real ones.
        k: hits wanted.
        efs: what to try; those below k are left out.
        progress: called after each of the `len(efs) + 1` rounds.
        **parameters: of the search: filter, timeout, ...

    Raises:
        InvalidRequest: no queries, or no ef of at least k.
        FanlightError: what the search raises.
    """
    tried = sorted({ef for ef in efs if ef >= k}) or [k]
    if not len(queries):
        raise InvalidRequest.of_field("queries", "at least 1", "0")
    floors, counts, exact_s = _exact(search, queries, k, parameters)
    progress()
    points = []
    for ef in tried:
        good, seconds = 0, 0.0
        for start, hits, taken in _asked(search, queries, k=k, ef_search=ef, **parameters):
            seconds += taken
            good += int((hits.scores >= floors[start : start + len(hits.scores), None]).sum())
        points.append(Point(ef, good / max(int(counts.sum()), 1), len(queries) / seconds))
        progress()
    return Curve(k, len(queries), tuple(points), len(queries) / exact_s)


def _exact(
    search: Search, queries: Any, k: int, parameters: dict[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """Give the least good score of each query, how many items reach it at most, and the time."""
    floors = np.full(len(queries), np.inf, dtype=np.float32)
    counts = np.zeros(len(queries), dtype=np.int64)
    seconds = 0.0
    for start, hits, taken in _asked(search, queries, k=k, exact=True, **parameters):
        seconds += taken
        counts[start : start + len(hits.counts)] = hits.counts
        for row in np.flatnonzero(hits.counts).tolist():
            floors[start + row] = hits.scores[row, hits.counts[row] - 1] - _EQUAL_SCORES
    return floors, counts, seconds


def _asked(search: Search, queries: Any, **parameters: Any) -> list[tuple[int, Hits, float]]:
    answers = []
    for start in range(0, len(queries), _BATCH):
        begun = time.perf_counter()
        hits = search(queries[start : start + _BATCH], **parameters)
        answers.append((start, hits, time.perf_counter() - begun))
    return answers
