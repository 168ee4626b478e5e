"""Retrieval against what users did later: hit rate, recall, NDCG, catalogue coverage."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.evaluation.recall import Search
from fanlight.model import Hits

# Queries of one call; each may ask for thousands of hits.
_BATCH = 64
# Calls at once: most are of one user, whose history is excluded, and wait more than they work.
_CALLERS = 8


@dataclass(frozen=True, slots=True)
class User:
    """One user with a split by time.

    Attributes:
        history: ids of items of before.
        held_out: ids of items of after: what a good retrieval finds.
    """

    history: frozenset[Any]
    held_out: frozenset[Any]

    @property
    def new(self) -> User:
        """Give the user whose held-out items are only those that were not there before."""
        return User(self.history, self.held_out - self.history)


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the users who have held-out items.

    Attributes:
        users: how many those are.
        k: length of a list.
        hit_rate: share of users with at least one held-out item in their list.
        recall: held-out items found, of min(k, how many there are).
        ndcg: discounted gain, of the best possible; 1 for all held-out items first.
        coverage: share of the catalogue that stands in any list.
    """

    users: int
    k: int
    hit_rate: float
    recall: float
    ndcg: float
    coverage: float


def score_lists(
    lists: Sequence[Sequence[Any]], users: Sequence[User], k: int, catalogue: int
) -> Figures:
    """Compare each user's list with what was held out.

    Args:
        lists: ids, best first, one list a user; those past k do not count.
        users: the users; one without held-out items is left out.
        k: length of a list.
        catalogue: items that could have been found.
    """
    judged = [(list(found[:k]), user.held_out) for found, user in zip(lists, users, strict=True)]
    judged = [(found, wanted) for found, wanted in judged if wanted]
    good = [np.array([item in wanted for item in found], bool) for found, wanted in judged]
    wanted = np.array([min(k, len(items)) for _, items in judged])
    found = np.array([int(row.sum()) for row in good])
    gains = np.array([_gain(row) for row in good])
    best = np.array([_gain(np.ones(n, bool)) for n in wanted.tolist()])
    shown = {item for items, _ in judged for item in items}
    return Figures(
        users=len(judged),
        k=k,
        hit_rate=_mean(found > 0),
        recall=_mean(found / wanted),
        ndcg=_mean(gains / best),
        coverage=len(shown) / max(catalogue, 1),
    )


def _gain(good: NDArray[np.bool_]) -> float:
    """Add up the discounted gains of a list (Järvelin and Kekäläinen 2002)."""
    return float((good / np.log2(np.arange(2, len(good) + 2))).sum())


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def retrieve(
    search: Search,
    vectors: NDArray[np.float32],
    users: Sequence[User],
    k: int,
    *,
    without_history: bool = False,
    **parameters: Any,
) -> list[list[Any]]:
    """Ask for each user's list.

    Args:
        search: `Collection.search`; it is called by several threads at once.
        vectors: (n, dim), one a user.
        users: n users.
        k: length of a list.
        without_history: exclude what the user has. Users with the same history are asked together.
        **parameters: of the search: exact, ef_search, filter, ...
    """
    alike: defaultdict[frozenset[Any], list[int]] = defaultdict(list)
    for row, user in enumerate(users):
        alike[user.history if without_history else frozenset()].append(row)
    batches = [
        (history, rows[start : start + _BATCH])
        for history, rows in alike.items()
        for start in range(0, len(rows), _BATCH)
    ]

    def ask(batch: tuple[frozenset[Any], list[int]]) -> Hits:
        history, rows = batch
        return search(vectors[rows], k=k, exclude_ids=list(history) or None, **parameters)

    lists: list[list[Any]] = [[] for _ in users]
    with ThreadPoolExecutor(_CALLERS) as callers:
        for (_, rows), hits in zip(batches, callers.map(ask, batches), strict=True):
            for place, row in enumerate(rows):
                lists[row] = hits.ids[place, : hits.counts[place]].tolist()
    return lists


def most_popular(users: Iterable[User], k: int, *, without_history: bool) -> list[list[Any]]:
    """Give each user what most users had before: the baseline that costs nothing.

    Equally popular items come in the order of their ids.
    """
    people = list(users)
    counts = Counter(item for user in people for item in user.history)
    ranked = sorted(counts, key=lambda item: (-counts[item], item))
    if not without_history:
        return [ranked[:k]] * len(people)
    return [
        [item for item in ranked[: k + len(user.history)] if item not in user.history][:k]
        for user in people
    ]
