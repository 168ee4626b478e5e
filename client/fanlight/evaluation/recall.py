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
# Queries of one call: enough to keep every core busy, few enough for its deadline.
BATCH = 256
# Two scores that differ by less, of 1 or of their size, are one: the graph and the scan add up in
# another order.
_EQUAL_SCORES = 1e-6
# Queries are timed up to three times, if that takes less than a second; the fastest counts.
_ROUNDS = 3
_ENOUGH_S = 1.0
# Standard deviations either way that hold 95 % of a normal distribution.
_Z = 1.96


# `Collection.search` or `Collection.search_by_id`.
Search: TypeAlias = Callable[..., Hits]


@dataclass(frozen=True, slots=True)
class Point:
    """What one `ef_search` gives.

    Attributes:
        ef_search: candidates the walk keeps.
        recall: mean share of the exact k nearest that were found, in [0, 1].
        low: with `high`, the 95 % confidence interval of the recall of queries like these.
        high: see `low`.
        queries_per_s: in batches of 256, with whatever else the machines did.
    """

    ef_search: int
    recall: float
    low: float
    high: float
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


@dataclass(frozen=True, slots=True)
class Truth:
    """The exact answers to some queries, as far as others are judged by them.

    Attributes:
        floors: (n,) float32: the score that a hit must have to be among the exact k.
        counts: (n,) how many items reach it at the most; 0 where nothing can be found.
    """

    floors: NDArray[np.float32]
    counts: NDArray[np.int64]

    @staticmethod
    def of(answers: Sequence[Hits]) -> Truth:
        """Take the exact answers, batch after batch."""
        counts = np.concatenate([hits.counts for hits in answers])
        last = [
            hits.scores[row, count - 1] if count else np.inf
            for hits in answers
            for row, count in enumerate(hits.counts.tolist())
        ]
        floors = np.array(last, dtype=np.float32)
        sizes = np.where(counts > 0, np.abs(floors), 0)
        return Truth((floors - _EQUAL_SCORES * np.maximum(1, sizes)).astype(np.float32), counts)

    def recalls(self, answers: Sequence[Hits]) -> NDArray[np.float64]:
        """Tell what share of its exact k each query found, for those that have any to find."""
        good, start = np.zeros(len(self.counts)), 0
        for hits in answers:
            rows = slice(start, start + len(hits.counts))
            good[rows] = (hits.scores >= self.floors[rows, None]).sum(axis=1)
            start = rows.stop
        judged = self.counts > 0
        return good[judged] / self.counts[judged]


def point_of(ef_search: int, recalls: NDArray[np.float64], k: int, queries_per_s: float) -> Point:
    """Sum up the recalls of all queries at one `ef_search`.

    Where no query has anything to find, all of it was found, and the interval says nothing.
    """
    if not len(recalls):
        return Point(ef_search, 1.0, 0.0, 1.0, queries_per_s)
    low, high = interval(recalls, k)
    return Point(ef_search, float(recalls.mean()), low, high, queries_per_s)


def interval(recalls: NDArray[np.float64], k: int) -> tuple[float, float]:
    """Give the 95 % confidence interval of the mean of the recalls of queries.

    Wilson's (1927), which stays within [0, 1] and does not shrink to nothing where all are 1. The
    hits of one query stand or fall together, so the sample is as large as its variance says
    (Kish 1965): from one for each query up. What misses are like is guessed from those that were
    seen and one more, of one hit.
    """
    seen = np.append(recalls, 1 - 1 / k)
    variance = max(float(seen.var()), np.finfo(np.float64).tiny)
    n = len(recalls) * min(max(1.0, float(seen.mean() * (1 - seen.mean())) / variance), k)
    mean = float(recalls.mean())
    middle = (mean + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (mean * (1 - mean) / n + _Z**2 / (4 * n**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


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
    answers, exact_s = _asked(search, queries, k=k, exact=True, **parameters)
    truth = Truth.of(answers)
    progress()
    points = []
    for ef in tried:
        answers, seconds = _asked(search, queries, k=k, ef_search=ef, **parameters)
        points.append(point_of(ef, truth.recalls(answers), k, len(queries) / seconds))
        progress()
    return Curve(k, len(queries), tuple(points), len(queries) / exact_s)


def _asked(search: Search, queries: Any, **parameters: Any) -> tuple[list[Hits], float]:
    """Ask all queries, and tell the seconds that it takes."""
    answers, fastest, spent = list[Hits](), float("inf"), 0.0
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        answers = [
            search(queries[start : start + BATCH], **parameters)
            for start in range(0, len(queries), BATCH)
        ]
        taken = time.perf_counter() - begun
        fastest, spent = min(fastest, taken), spent + taken
        if spent >= _ENOUGH_S:
            break
    return answers, fastest
