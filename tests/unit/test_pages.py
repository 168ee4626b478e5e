"""Pages over shards of which one is away for a while."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fanlight import examples, interest, interests
from fanlight.ids import empty
from fanlight.model import Coverage, Floats, Hits, IdColumn, IdType
from fanlight.questions import AsyncQuestions, Questions

K = 4
# The items of two shards, best first.
NEAR, FAR = [3, 1, 4, 5, 9], [2, 6]


class Ranked(Questions):
    """A collection that finds its items in order, those of the second shard when it is there.

    Attributes:
        away: searches that still miss the second shard.
        asked: searches that came.
    """

    def __init__(self, away: int = 0) -> None:
        self.away, self.asked = away, 0

    def search(self, queries: Any, *, k: int, exclude_ids: Any, **more: Any) -> Hits:
        self.asked += 1
        seen = set() if exclude_ids is None else set(np.asarray(exclude_ids).tolist())
        answered = 1 if self.away else 2
        self.away = max(0, self.away - 1)
        items = NEAR if answered == 1 else NEAR + FAR
        found = [item for item in items if item not in seen][:k]
        ids: IdColumn = empty(IdType.INT64, (1, k))
        scores: Floats = np.full((1, k), np.nan, dtype=np.float32)
        ids[0, : len(found)] = found
        coverage = Coverage(2, answered, len(NEAR + FAR), len(items))
        return Hits(ids, scores, np.array([len(found)]), coverage)


class AsyncRanked(AsyncQuestions):
    """The same for an event loop."""

    def __init__(self, ranked: Ranked) -> None:
        self._ranked = ranked

    async def search(self, queries: Any, **more: Any) -> Hits:
        return self._ranked.search(queries, **more)


async def pages_of(ranked: Ranked, colour: str, query: Any, **more: Any) -> list[list[int]]:
    if colour == "sync":
        pages = list(ranked.pages(query, k=K, **more))
    else:
        pages = [page async for page in AsyncRanked(ranked).pages(query, k=K, **more)]
    return [page.ids[0, : page.counts[0]].tolist() for page in pages]


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_page_that_lacks_a_shard_is_not_the_last(colour: str) -> None:
    """What the missing shard holds comes on a later page."""
    ranked = Ranked(away=2)
    pages = await pages_of(ranked, colour, [1.0], min_coverage=0.5)
    assert pages == [[3, 1, 4, 5], [9], [2, 6]]


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_short_page_of_a_plain_search_is_the_last(colour: str) -> None:
    """Nobody asks once more only to be told that nothing is left."""
    for query in ([1.0], examples([7]), [interests(interest([1.0], weight=2.0, min_share=0.5))]):
        ranked = Ranked()
        assert await pages_of(ranked, colour, query) == [[3, 1, 4, 5], [9, 2, 6]]
        assert ranked.asked == 2
        ranked = Ranked()
        assert await pages_of(ranked, colour, query, exclude_ids=[3, 2]) == [[1, 4, 5, 9], [6]]
