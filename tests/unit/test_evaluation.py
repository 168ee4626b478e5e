"""The figures of an evaluation are what their definitions say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fanlight.errors import InvalidRequest
from fanlight.evaluation import User, measure_recall, most_popular, retrieve, score_lists
from fanlight.model import Coverage, Hits

BASE = np.random.default_rng(3).standard_normal((40, 6)).astype(np.float32)
BASE /= np.linalg.norm(BASE, axis=1, keepdims=True)


def search(
    queries: Any,
    *,
    k: int,
    exact: bool = False,
    ef_search: int = 0,
    exclude_ids: list[int] | None = None,
) -> Hits:
    """Answer exactly; inexactly, miss as many of the nearest as ef_search lacks to 20."""
    scores = np.asarray(queries, np.float32) @ BASE.T
    scores[:, exclude_ids or []] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")
    if not exact:
        order = order[:, max(0, 20 - ef_search) :]
    ids = order[:, :k]
    found = np.take_along_axis(scores, ids, axis=1)
    counts = (found > -np.inf).sum(axis=1)
    return Hits(ids=ids, scores=found, counts=counts, coverage=Coverage(1, 1, len(BASE), len(BASE)))


def test_recall_by_ef() -> None:
    """Of ten nearest, an index that misses the first five has found half."""
    ticks: list[None] = []
    curve = measure_recall(
        search, BASE, k=10, efs=(8, 10, 15, 20), progress=lambda: ticks.append(None)
    )
    assert [(p.ef_search, p.recall) for p in curve.points] == [(10, 0.0), (15, 0.5), (20, 1.0)]
    assert len(ticks) == 4
    assert (curve.cheapest(0.5), curve.cheapest(0.99)) == (15, 20)
    assert curve.cheapest(0.4) == 15
    assert all(point.queries_per_s > 0 for point in curve.points)


def test_no_ef_may_be_enough() -> None:
    """Then there is no cheapest."""
    assert measure_recall(search, BASE, k=10, efs=(15,)).cheapest(0.9) is None
    with pytest.raises(InvalidRequest, match="queries: expected at least 1, got 0"):
        measure_recall(search, BASE[:0])


def test_lists_against_what_was_held_out() -> None:
    """Each figure by hand, for three users of whom one has nothing to find."""
    users = [
        User(frozenset(), frozenset({1, 2})),
        User(frozenset({7}), frozenset({9})),
        User(frozenset(), frozenset()),
    ]
    figures = score_lists([[5, 1, 2], [4, 5, 6], [1, 2, 3]], users, k=3, catalogue=10)
    gain = (1 / math.log2(3) + 1 / math.log2(4)) / (1 / math.log2(2) + 1 / math.log2(3))
    assert (figures.users, figures.k) == (2, 3)
    assert figures.hit_rate == 0.5
    assert figures.recall == 0.5
    assert figures.ndcg == pytest.approx(gain / 2)
    assert figures.coverage == 0.5  # 1, 2, 4, 5, 6 of ten


def test_recall_divides_by_what_can_be_found() -> None:
    """A list of two cannot hold three held-out items."""
    users = [User(frozenset(), frozenset({1, 2, 3}))]
    assert score_lists([[1, 2]], users, k=2, catalogue=9).recall == 1.0


@pytest.mark.parametrize("without", [False, True])
def test_lists_are_exact_with_and_without_history(without: bool) -> None:
    """Without the history, a list is the brute-force list without those items, and as long.

    Users who have the same, those who have nothing, and those who have nearly all are among them.
    """
    rng = np.random.default_rng(8)
    users = [
        User(frozenset(rng.permutation(40)[: row % 40].tolist()), frozenset()) for row in range(90)
    ]
    vectors = rng.standard_normal((90, 6)).astype(np.float32)
    lists = retrieve(search, vectors, users, 5, without_history=without, exact=True)
    for found, user, vector in zip(lists, users, vectors, strict=True):
        ranked = np.argsort(-(BASE @ vector), kind="stable").tolist()
        seen = user.history if without else frozenset()
        assert found == [item for item in ranked if item not in seen][:5]


def test_popular_items() -> None:
    """By how many users had them, then by id; a user's own are left out when asked."""
    users = [User(frozenset(items), frozenset()) for items in ({3, 1}, {3, 2}, {3})]
    assert most_popular(users, 2, without_history=False) == [[3, 1]] * 3
    assert most_popular(users, 2, without_history=True) == [[2], [1], [1, 2]]
