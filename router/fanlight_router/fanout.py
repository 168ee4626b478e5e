"""Searches, counts and scrolls over all shards.

Laws: knows searchers and asyncio, neither channels nor messages. Hits are merged by
`fanlight.topk.merge` alone, so equal scores are ordered by id and an answer does not depend on
which shard came first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from fanlight.answering import answer
from fanlight.declarations import united
from fanlight.explaining import explain, explained
from fanlight.facets import merged
from fanlight.filters import Filter
from fanlight.hits import attach, first, real_ids
from fanlight.ids import empty, id_type_of, last_occurrences
from fanlight.limits import Limits
from fanlight.model import (
    NO_SCORE,
    Coverage,
    Explanation,
    Facets,
    Hits,
    IdColumn,
    Items,
    Page,
    Rows,
    SearchRequest,
)
from fanlight.placement import shard_name, shards_of
from fanlight.plans import (
    Describe,
    Described,
    Fetch,
    Fetched,
    Late,
    Nearest,
    Plan,
    Stand,
    Standing,
    Step,
)
from fanlight.topk import TopK, merge
from fanlight.validation import check_min_coverage, check_score, check_search_parameters
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline
from fanlight_router.exclusions import ExclusionSplitter
from fanlight_router.gather import Gathered, demand, demand_all, gather
from fanlight_router.items import PlacedItems
from fanlight_router.pressure import Pressure
from fanlight_router.scroll import scroll
from fanlight_router.shards import Columns, Shard
from fanlight_router.shares import share_of, short_queries, with_rest

T = TypeVar("T")

# As many hits take 17 to 26 ms to merge (measured), as long as other callers should ever wait.
_HITS_ON_LOOP = 200_000


class Fanout:
    """The reads that concern all shards. For one event loop."""

    def __init__(
        self, shards: Sequence[Shard], items: PlacedItems, known: KnownItems, limits: Limits
    ) -> None:
        self._shards = tuple(shards)
        self._splitter = ExclusionSplitter(len(self._shards))
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
        if bare.is_nearest:
            hits = await self._nearest(bare, deadline)
        else:
            hits = await self._carry_out(partial(answer, bare, self._limits), bare, deadline)
        hits = first(hits, request.width)
        if request.with_vectors or request.with_payloads:
            hits = attach(hits, await self._winners(request, hits, deadline))
        return hits

    async def count(
        self,
        collection: str,
        min_coverage: float,
        deadline: Deadline,
        filter: Filter | None = None,
    ) -> tuple[int, Coverage]:
        """Count live items on the shards that answer; raises as `search` does."""
        check_min_coverage(min_coverage)
        answers, coverage = await self._each(
            collection,
            min_coverage,
            deadline,
            lambda shard, left_s: shard.count(collection, left_s, filter),
        )
        return sum(answers), coverage

    async def facets(
        self,
        collection: str,
        field: str,
        filter: Filter | None,
        limit: int | None,
        min_coverage: float,
        deadline: Deadline,
    ) -> tuple[Facets, Coverage]:
        """Count live items by the values of a field; raises as `search` does."""
        check_min_coverage(min_coverage)
        answers, coverage = await self._each(
            collection,
            min_coverage,
            deadline,
            lambda shard, left_s: shard.facets(collection, field, filter, left_s),
        )
        return merged(answers, limit), coverage

    async def _each(
        self,
        collection: str,
        min_coverage: float,
        deadline: Deadline,
        ask: Callable[[Shard, float], Awaitable[tuple[T, Coverage]]],
    ) -> tuple[list[T], Coverage]:
        """Ask every shard the same."""
        left_s = deadline.left_s()
        gathered = await gather({i: ask(s, left_s) for i, s in enumerate(self._shards)}, left_s)
        covered = {i: coverage for i, (_, coverage) in gathered.answers.items()}
        coverage = self._known.unite(collection, covered, gathered.failures)
        demand(gathered, min_coverage, coverage)
        return [answer for answer, _ in gathered.answers.values()], coverage

    async def delete_matching(
        self, collection: str, filter: Filter, deadline: Deadline
    ) -> tuple[int, Coverage]:
        """Delete the items that satisfy a filter.

        Raises:
            FanlightError: a shard failed; items of it, and of others, may be gone.
        """
        left_s = deadline.left_s()
        calls = {
            i: shard.delete_matching(collection, filter, left_s)
            for i, shard in enumerate(self._shards)
        }
        gathered = await gather(calls, left_s)
        demand_all(gathered)
        covered = {i: self._known.coverage_of(i, collection) for i in gathered.answers}
        return sum(gathered.answers.values()), self._known.unite(collection, covered, {})

    async def explain(
        self, request: SearchRequest, id_: IdColumn, deadline: Deadline, score: float | None = None
    ) -> Explanation:
        """Tell why an item is, or is not, in the answer to a search; raises as `search` does.

        Args:
            request: a search with one query.
            id_: (1,) the item.
            deadline: for all shards.
            score: of an item that is elsewhere, to be ranked among the items here: for a router
                over this one; or None.
        """
        check_search_parameters(request, self._limits)
        if score is None:
            make = partial(explain, request, id_, self._limits)
            return await self._carry_out(make, request, deadline)
        check_score(score, request)
        nothing = Standing(exists=False, score=score)
        return explained(await self._ranked(nothing, request, id_, deadline, None))

    async def _standing(
        self, request: SearchRequest, id_: IdColumn, deadline: Deadline
    ) -> Standing:
        """Let the shard that owns an item score it, and the others count what is better."""
        owner, left_s = int(shards_of(id_, len(self._shards))[0]), deadline.left_s()
        asked = await gather(
            {owner: self._shards[owner].explain(request, id_, None, left_s)}, left_s
        )
        demand_all(asked)
        own = asked.answers[owner]
        standing = Standing(
            own.exists,
            own.score,
            own.rank - 1,
            own.rank_allowed - 1,
            shard_name(owner),
            own.segment,
            own.seq,
            own.outcomes,
        )
        if not own.exists:
            return standing
        return await self._ranked(standing, request, id_, deadline, owner)

    async def _ranked(
        self,
        standing: Standing,
        request: SearchRequest,
        id_: IdColumn,
        deadline: Deadline,
        owner: int | None,
    ) -> Standing:
        """Add what is better on all shards, but the owner's, which is counted."""
        left_s = deadline.left_s()
        others = {
            i: shard.explain(request, id_, standing.score, left_s)
            for i, shard in enumerate(self._shards)
            if i != owner
        }
        if not others:
            return standing
        gathered = await gather(others, left_s)
        demand_all(gathered)
        ranks = gathered.answers.values()
        return replace(
            standing,
            better=standing.better + sum(other.rank - 1 for other in ranks),
            better_allowed=standing.better_allowed + sum(o.rank_allowed - 1 for o in ranks),
        )

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
        left_s, each = deadline.left_s(), self._splitter.requests(asked)
        calls = {i: shard.search(each[i], left_s) for i, shard in enumerate(self._shards)}
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
        left_s, each = deadline.left_s(), self._splitter.requests(request)
        calls = {
            i: self._shards[i].search(replace(each[i], vectors=request.vectors[rows]), left_s)
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

    async def _carry_out(
        self, make: Callable[[Late], Plan[T]], request: SearchRequest, deadline: Deadline
    ) -> T:
        """Carry a plan out on all shards; making lists may take long, so it is done in a thread.

        The thread ends with its caller: a list is not made on after the deadline, nor when the
        call was cancelled.
        """
        gone = False
        plan = make(lambda: gone or deadline.passed)
        in_thread, result = request.makes_lists, None
        try:
            while True:
                advance = partial(_advance, plan, result)
                step = await asyncio.to_thread(advance) if in_thread else advance()
                if isinstance(step, _End):
                    answer: T = step.value
                    return answer
                result = await self._perform(step, request, deadline)
        finally:
            gone = True

    async def _perform(
        self, step: Step, request: SearchRequest, deadline: Deadline
    ) -> Hits | Fetched | Described | Standing:
        if request.min_coverage < 1:  # others may answer in the place of a shard that hangs
            deadline = deadline.half()
        match step:
            case Nearest(search):
                return await self._nearest(search, deadline)
            case Fetch(ids, vectors, payloads):
                columns = Columns(vectors=vectors, payloads=payloads)
                return await self._items.find(
                    request.collection, ids, columns, request.min_coverage, deadline
                )
            case Describe():
                return await self._described(request, deadline)
            case Stand(search, id_):
                return await self._standing(search, id_, deadline)

    async def _described(self, request: SearchRequest, deadline: Deadline) -> Described:
        """Ask all shards what a collection is: each builds fields at its own pace."""
        name = request.collection
        infos, _ = await self._each(
            name,
            request.min_coverage,
            deadline,
            lambda shard, left_s: shard.get_collection(name, left_s),
        )
        whole = united(infos)
        return Described(whole.spec, frozenset(whole.building_fields))

    async def _winners(self, request: SearchRequest, hits: Hits, deadline: Deadline) -> Items:
        """Read the columns asked for, of the hits that are returned only."""
        columns = Columns(vectors=request.with_vectors, payloads=request.with_payloads)
        every = real_ids(hits)
        ids = every[last_occurrences(every)[0]]
        if len(ids):
            found = await self._items.find(request.collection, ids, columns, 1, deadline)
            return found.items
        dim = 0 if request.vectors is None else request.vectors.shape[1]
        vectors = np.empty((0, dim), dtype=np.float32)
        return Items(
            ids,
            vectors if columns.vectors else None,
            [] if columns.payloads else None,
            missing=ids,
        )


@dataclass(frozen=True, slots=True)
class _End:
    """What a plan returned."""

    value: Any


def _advance(plan: Plan[Any], result: Any) -> Step | _End:
    """Take a plan to its next step, or to its end."""
    try:
        return plan.send(result)
    except StopIteration as end:
        return _End(end.value)


def _merged(parts: Sequence[Hits], k: int, coverage: Coverage) -> Hits:
    blocks = [TopK(part.ids, part.scores, part.counts) for part in parts]
    best = merge(blocks, k, id_type_of(parts[0].ids), len(parts[0].counts))
    errors = {row: error for part in parts for row, error in part.errors.items()}
    if errors:
        _clear(best, list(errors))
    excluded = [part.excluded for part in parts if part.excluded is not None]
    left_out = sum(excluded) if excluded else None
    return Hits(best.ids, best.scores, best.counts, coverage, errors, excluded=left_out)


def _clear(hits: TopK, rows: Sequence[int]) -> None:
    """Take the hits off queries that failed on some shard, before anybody has seen them."""
    hits.ids[rows] = empty(id_type_of(hits.ids), 1)[0]
    hits.scores[rows] = NO_SCORE
    hits.counts[rows] = 0
