"""Searches, counts and scrolls over all shards.

Laws: knows searchers and asyncio, neither channels nor messages. Hits are merged by
`fanlight.topk.merge` alone, so equal scores are ordered by id and an answer does not depend on
which shard came first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fanlight.hits import attach, by_vector, first, real_ids, without_own
from fanlight.ids import empty, id_type_of, last_occurrences
from fanlight.limits import Limits
from fanlight.model import NO_SCORE, Coverage, Hits, Items, Page, Rows, SearchRequest
from fanlight.topk import TopK, merge
from fanlight.validation import check_min_coverage, check_range, check_search_parameters
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline
from fanlight_router.gather import Gathered, demand, gather
from fanlight_router.items import PlacedItems
from fanlight_router.pressure import Pressure
from fanlight_router.scroll import scroll
from fanlight_router.shards import Columns, Shard
from fanlight_router.shares import share_of, short_queries, with_rest

# As many hits take 17 to 26 ms to merge (measured), as long as other callers should ever wait.
_HITS_ON_LOOP = 200_000


class Fanout:
    """The reads that concern all shards. For one event loop."""

    def __init__(
        self, shards: Sequence[Shard], items: PlacedItems, known: KnownItems, limits: Limits
    ) -> None:
        self._shards = tuple(shards)
        self._items = items
        self._known = known
        self._limits = limits
        self._pressure = Pressure(len(self._shards))

    async def search(self, request: SearchRequest, deadline: Deadline) -> Hits:
        """Answer the queries of `request`.

        Raises:
            InvalidRequest: a parameter is out of range, or as the shards say.
            NotFound: there is no such collection.
            PartialResult: fewer shards answered than `request.min_coverage` demands.
            Overloaded: the payloads and vectors of the hits do not fit one message, or shards that
                are needed have full queues.
            DeadlineExceeded: the deadline passed before the shards were asked.
        """
        check_search_parameters(request, self._limits)
        self._pressure.check(request.min_coverage)
        bare = request
        if request.with_vectors or request.with_payloads or request.take is not None:
            bare = replace(request, with_payloads=False, with_vectors=False, take=None)
        nearest = self._nearest if bare.ids is None else self._nearest_to_items
        hits = first(await nearest(bare, deadline), request.width)
        if request.with_vectors or request.with_payloads:
            hits = attach(hits, await self._winners(request, hits, deadline))
        return hits

    async def count(
        self, collection: str, min_coverage: float, deadline: Deadline
    ) -> tuple[int, Coverage]:
        """Count live items on the shards that answer; raises as `search` does."""
        check_min_coverage(min_coverage)
        left_s = deadline.left_s()
        calls = {i: shard.count(collection, left_s) for i, shard in enumerate(self._shards)}
        gathered = await gather(calls, left_s)
        covered = {i: coverage for i, (_, coverage) in gathered.answers.items()}
        coverage = self._known.unite(collection, covered, gathered.failures)
        demand(gathered, min_coverage, coverage)
        return sum(count for count, _ in gathered.answers.values()), coverage

    async def scroll(
        self,
        collection: str,
        page_size: int,
        page_token: bytes,
        columns: Columns,
        deadline: Deadline,
    ) -> tuple[Page, Coverage]:
        """Read the next page of all items; see `fanlight_router.scroll`."""
        page, shard = await scroll(
            self._shards, collection, page_size, page_token, columns, deadline
        )
        return page, self._known.coverage_of(shard, collection)

    async def _nearest(self, request: SearchRequest, deadline: Deadline) -> Hits:
        """Answer queries by vector; see `fanlight_router.shares` for large k."""
        share = share_of(request.k, len(self._shards))
        asked = request if share is None else replace(request, take=share)
        left_s = deadline.left_s()
        calls = {i: shard.search(asked, left_s) for i, shard in enumerate(self._shards)}
        gathered = await gather(calls, left_s, all_or_none=request.min_coverage >= 1)
        if gathered.failures:
            self._pressure.note(gathered.failures)
        hits = await self._merged(request, gathered)
        if share is None:
            return hits
        short = {
            i: rows
            for i, part in gathered.answers.items()
            if len(rows := short_queries(hits, part, share))
        }
        if not short:
            return hits
        return await self._merged(
            request, await self._ask_again(request, gathered, short, deadline)
        )

    async def _ask_again(
        self,
        request: SearchRequest,
        gathered: Gathered[Hits],
        short: Mapping[int, Rows],
        deadline: Deadline,
    ) -> Gathered[Hits]:
        """Get all k hits of the queries for which a shard's share was not enough."""
        assert request.vectors is not None
        left_s = deadline.left_s()
        calls = {
            i: self._shards[i].search(replace(request, vectors=request.vectors[rows]), left_s)
            for i, rows in short.items()
        }
        again = await gather(calls, left_s)
        answers = {i: part for i, part in gathered.answers.items() if i not in again.failures}
        for i, whole in again.answers.items():
            answers[i] = with_rest(answers[i], short[i], whole, request.k)
        return Gathered(answers, {**gathered.failures, **again.failures})

    async def _merged(self, request: SearchRequest, gathered: Gathered[Hits]) -> Hits:
        """Merge what the shards found, if enough of them answered."""
        covered = {i: hits.coverage for i, hits in gathered.answers.items()}
        coverage = self._known.unite(request.collection, covered, gathered.failures)
        demand(gathered, request.min_coverage, coverage)
        parts = list(gathered.answers.values())
        if sum(part.ids.size for part in parts) <= _HITS_ON_LOOP:
            return _merged(parts, request.k, coverage)
        return await asyncio.to_thread(_merged, parts, request.k, coverage)

    async def _nearest_to_items(self, request: SearchRequest, deadline: Deadline) -> Hits:
        """Answer queries by id: look their vectors up first, on the shards that own them."""
        assert request.ids is not None
        # One hit more is searched, since the item itself is among the hits and left out.
        check_range("k", request.k, 1, self._limits.k - 1)
        found, failed = await self._items.find(
            request.collection,
            request.ids,
            Columns(payloads=False),
            request.min_coverage,
            deadline,
        )
        by_vectors, unknown = by_vector(request, found)
        hits = await self._nearest(by_vectors, deadline)
        return without_own(hits, request.ids, {**unknown, **failed}, request.k)

    async def _winners(self, request: SearchRequest, hits: Hits, deadline: Deadline) -> Items:
        """Read the columns asked for, of the hits that are returned only."""
        columns = Columns(vectors=request.with_vectors, payloads=request.with_payloads)
        every = real_ids(hits)
        ids = every[last_occurrences(every)[0]]
        if len(ids):
            items, _ = await self._items.find(request.collection, ids, columns, 1, deadline)
            return items
        dim = 0 if request.vectors is None else request.vectors.shape[1]
        vectors = np.empty((0, dim), dtype=np.float32)
        return Items(
            ids,
            vectors if columns.vectors else None,
            [] if columns.payloads else None,
            missing=ids,
        )


def _merged(parts: Sequence[Hits], k: int, coverage: Coverage) -> Hits:
    blocks = [TopK(part.ids, part.scores, part.counts) for part in parts]
    best = merge(blocks, k, id_type_of(parts[0].ids), len(parts[0].counts))
    errors = {row: error for part in parts for row, error in part.errors.items()}
    if errors:
        _clear(best, list(errors))
    return Hits(best.ids, best.scores, best.counts, coverage, errors)


def _clear(hits: TopK, rows: Sequence[int]) -> None:
    """Take the hits off queries that failed on some shard, before anybody has seen them."""
    hits.ids[rows] = empty(id_type_of(hits.ids), 1)[0]
    hits.scores[rows] = NO_SCORE
    hits.counts[rows] = 0
