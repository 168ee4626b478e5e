"""What a collection can be asked besides searches: facets, explanations, pages and sets.

The two faces of `fanlight.client` and `fanlight.aio` have these methods by inheritance.
"""
# ruff: noqa: ASYNC109  the timeout is the deadline that each request carries, as in `Client`

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TypeAlias, TypeVar, cast

from numpy.typing import ArrayLike

from fanlight.conditions import FilterLike
from fanlight.driver import Driver
from fanlight.examples import as_composed, is_composed
from fanlight.ids import IdsLike, joined
from fanlight.inputs import as_ids
from fanlight.model import Explanation, Facets, Hits, IdColumn
from fanlight.operations import Operations
from fanlight.queries import Query
from fanlight.query_operations import QueryOperations
from fanlight.transport import AsyncTransport

T = TypeVar("T")
Queries: TypeAlias = "ArrayLike | Query"


class Questions:
    """See the module; for programs with threads."""

    name: str
    _operations: Operations
    _transport: Driver

    def count(
        self,
        *,
        filter: FilterLike | None = None,
        min_coverage: float = 1.0,
        timeout: float | None = None,
    ) -> int:
        """Count the live items.

        Args:
            filter: count only items that satisfy it.
            min_coverage: least share of the shards that must answer, in [0, 1]; the items of
                the others are not counted.
            timeout: seconds; None for the client's default.

        Raises:
            NotFound: the collection does not exist.
            PartialResult: too few shards answered.
        """
        return self._transport.run(
            self._operations.count(
                self.name, filter=filter, min_coverage=min_coverage, timeout=timeout
            )
        )

    @property
    def sets(self) -> Sets:
        """Give the sets of ids that searches of this collection can exclude by name."""
        return Sets(self.name, self._operations, self._transport)

    def facets(
        self,
        field: str,
        *,
        filter: FilterLike | None = None,
        limit: int | None = 100,
        min_coverage: float = 1.0,
        timeout: float | None = None,
    ) -> Facets:
        """Count the live items by the values of a filterable field, the most frequent first.

        Args:
            field: its name.
            filter: count only items that satisfy it.
            limit: values to return; None for all of them.
            min_coverage: least share of the shards that must answer, in [0, 1].
            timeout: seconds; None for the client's default.

        Raises:
            InvalidRequest: the field is not filterable, or has too many values.
        """
        operation = QueryOperations(self._operations, self.name).facets(
            field, filter, limit, min_coverage, timeout
        )
        return self._transport.run(operation)

    def explain(
        self, query: Queries, item: int | str, *, timeout: float | None = None, **search: object
    ) -> Explanation:
        """Tell why an item is, or is not, in the answer to a search.

        Args:
            query: one query, as `search` takes it.
            item: its id.
            timeout: seconds; None for the client's default.
            search: what else the search asks for, as `search` takes it: k, filter, slate, ...
        """
        operation = QueryOperations(self._operations, self.name).explain(
            query, item, timeout, search
        )
        return self._transport.run(operation)

    def pages(
        self, query: Queries, *, k: int = 100, exclude_ids: IdsLike | None = None, **search: object
    ) -> Iterator[Hits]:
        """Find all items page by page: each has the k best that no page before had.

        No item comes twice, and none is skipped that stays, whatever is written meanwhile. A walk
        of the graph may leave items out; with `exact=True` all come. A page may be short where
        rules or missing shards make it so; an empty one is not given, and is the end.

        Args:
            query: one query, as `search` takes it.
            k: hits a page.
            exclude_ids: see `search`.
            search: what else the search asks for, as `search` takes it.

        Raises:
            InvalidRequest: more ids were seen than a search may exclude (1,000,000 by default,
                `limits.exclude_ids` of the servers), so that there is no next page.
            FanlightError: as `search` does.
        """
        seen = exclude_ids
        while True:
            hits: Hits = self.search(query, k=k, exclude_ids=seen, **search)  # type: ignore[attr-defined]  # of the face
            if not hits.counts[0]:
                return
            yield hits
            if _is_last(hits, query, k, search):
                return
            seen = _and(seen, hits)


class Sets:
    """The sets of one collection; see docs/queries.md. An unknown name is an empty set."""

    def __init__(self, collection: str, operations: Operations, transport: Driver) -> None:
        """Do not call; see `Collection.sets`."""
        self._make = QueryOperations(operations, collection)
        self._transport = transport

    def append(
        self, name: str, ids: IdsLike, *, ttl: float | None = None, timeout: float | None = None
    ) -> int:
        """Add ids, for `ttl` seconds or for ever; one that is there gets the new time.

        When it returns, the change is on disk and the next search sees it.

        Returns:
            Members of the set now.
        """
        return self._transport.run(self._make.append_to_set(name, ids, ttl, timeout))

    def remove(self, name: str, ids: IdsLike, *, timeout: float | None = None) -> int:
        """Take ids out; tell how many members there are now."""
        return self._transport.run(self._make.remove_from_set(name, ids, timeout))

    def expire(self, name: str, ttl: float, *, timeout: float | None = None) -> int:
        """Give all members of now `ttl` seconds; tell how many there are."""
        return self._transport.run(self._make.expire_set(name, ttl, timeout))

    def count(self, name: str, *, timeout: float | None = None) -> int:
        """Count the members."""
        return self._transport.run(self._make.count_set(name, timeout))

    def get(self, name: str, *, timeout: float | None = None) -> IdColumn:
        """Read the members: (n,) ids, ascending."""
        return self._transport.run(self._make.set_members(name, timeout))

    def delete(self, name: str, *, timeout: float | None = None) -> None:
        """Take all members out."""
        self._transport.run(self._make.delete_set(name, timeout))


class AsyncQuestions:
    """See the module; for programs with an event loop."""

    name: str
    _operations: Operations
    _transport: AsyncTransport

    async def count(
        self,
        *,
        filter: FilterLike | None = None,
        min_coverage: float = 1.0,
        timeout: float | None = None,
    ) -> int:
        """Count the live items.

        Args:
            filter: count only items that satisfy it.
            min_coverage: least share of the shards that must answer, in [0, 1]; the items of
                the others are not counted.
            timeout: seconds; None for the client's default.

        Raises:
            NotFound: the collection does not exist.
            PartialResult: too few shards answered.
        """
        return await self._transport.run(
            self._operations.count(
                self.name, filter=filter, min_coverage=min_coverage, timeout=timeout
            )
        )

    @property
    def sets(self) -> AsyncSets:
        """Give the sets of ids that searches of this collection can exclude by name."""
        return AsyncSets(self.name, self._operations, self._transport)

    async def facets(
        self,
        field: str,
        *,
        filter: FilterLike | None = None,
        limit: int | None = 100,
        min_coverage: float = 1.0,
        timeout: float | None = None,
    ) -> Facets:
        """Count the live items by the values of a filterable field, the most frequent first.

        Args:
            field: its name.
            filter: count only items that satisfy it.
            limit: values to return; None for all of them.
            min_coverage: least share of the shards that must answer, in [0, 1].
            timeout: seconds; None for the client's default.

        Raises:
            InvalidRequest: the field is not filterable, or has too many values.
        """
        operation = QueryOperations(self._operations, self.name).facets(
            field, filter, limit, min_coverage, timeout
        )
        return await self._transport.run(operation)

    async def explain(
        self, query: Queries, item: int | str, *, timeout: float | None = None, **search: object
    ) -> Explanation:
        """Tell why an item is, or is not, in the answer to a search.

        Args:
            query: one query, as `search` takes it.
            item: its id.
            timeout: seconds; None for the client's default.
            search: what else the search asks for, as `search` takes it: k, filter, slate, ...
        """
        operation = QueryOperations(self._operations, self.name).explain(
            query, item, timeout, search
        )
        return await self._transport.run(operation)

    async def pages(
        self, query: Queries, *, k: int = 100, exclude_ids: IdsLike | None = None, **search: object
    ) -> AsyncIterator[Hits]:
        """Find all items page by page: each has the k best that no page before had.

        No item comes twice, and none is skipped that stays, whatever is written meanwhile. A walk
        of the graph may leave items out; with `exact=True` all come. A page may be short where
        rules or missing shards make it so; an empty one is not given, and is the end.

        Args:
            query: one query, as `search` takes it.
            k: hits a page.
            exclude_ids: see `search`.
            search: what else the search asks for, as `search` takes it.

        Raises:
            InvalidRequest: more ids were seen than a search may exclude (1,000,000 by default,
                `limits.exclude_ids` of the servers), so that there is no next page.
            FanlightError: as `search` does.
        """
        seen = exclude_ids
        while True:
            hits: Hits = await self.search(query, k=k, exclude_ids=seen, **search)  # type: ignore[attr-defined]  # of the face
            if not hits.counts[0]:
                return
            yield hits
            if _is_last(hits, query, k, search):
                return
            seen = _and(seen, hits)


class AsyncSets:
    """The sets of one collection; see `Sets`."""

    def __init__(self, collection: str, operations: Operations, transport: AsyncTransport) -> None:
        """Do not call; see `AsyncCollection.sets`."""
        self._make = QueryOperations(operations, collection)
        self._transport = transport

    async def append(
        self, name: str, ids: IdsLike, *, ttl: float | None = None, timeout: float | None = None
    ) -> int:
        """Add ids, for `ttl` seconds or for ever; one that is there gets the new time.

        When it returns, the change is on disk and the next search sees it.

        Returns:
            Members of the set now.
        """
        return await self._transport.run(self._make.append_to_set(name, ids, ttl, timeout))

    async def remove(self, name: str, ids: IdsLike, *, timeout: float | None = None) -> int:
        """Take ids out; tell how many members there are now."""
        return await self._transport.run(self._make.remove_from_set(name, ids, timeout))

    async def expire(self, name: str, ttl: float, *, timeout: float | None = None) -> int:
        """Give all members of now `ttl` seconds; tell how many there are."""
        return await self._transport.run(self._make.expire_set(name, ttl, timeout))

    async def count(self, name: str, *, timeout: float | None = None) -> int:
        """Count the members."""
        return await self._transport.run(self._make.count_set(name, timeout))

    async def get(self, name: str, *, timeout: float | None = None) -> IdColumn:
        """Read the members: (n,) ids, ascending."""
        return await self._transport.run(self._make.set_members(name, timeout))

    async def delete(self, name: str, *, timeout: float | None = None) -> None:
        """Take all members out."""
        await self._transport.run(self._make.delete_set(name, timeout))


def _is_last(hits: Hits, query: Queries, k: int, search: Mapping[str, object]) -> bool:
    """Tell whether a page is short for no other reason than that nothing is left."""
    if hits.counts[0] >= k or not hits.coverage.complete or search.get("slate") is not None:
        return False
    if not is_composed(query):
        return True
    asked = as_composed(cast("Query", query))
    return all(part.max_share >= 1 for one in asked for part in one.interests)


def _and(seen: IdsLike | None, hits: Hits) -> IdColumn:
    """Add the hits of a page to what was seen."""
    page = hits.ids[0, : hits.counts[0]]
    return page if seen is None or not len(seen) else joined([as_ids(seen), page])
