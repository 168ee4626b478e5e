"""The operations of facets, explanations, sets and deletions by filter; see `fanlight.operations`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from numpy.typing import ArrayLike

from fanlight import calls
from fanlight.calls import Operation
from fanlight.chunks import spans_of_bytes
from fanlight.conditions import FilterLike, as_filter
from fanlight.ids import IdsLike
from fanlight.inputs import as_ids, as_number, as_text, as_uint32, id_sizes
from fanlight.model import Explanation, Facets, IdColumn
from fanlight.operations import Operations, search_request
from fanlight.queries import Query
from fanlight.v1 import items_pb2, search_pb2, sets_pb2
from fanlight.wire.answer_codec import from_explanation, from_facets
from fanlight.wire.codec import from_ids, to_ids, to_search
from fanlight.wire.filter_codec import to_filter

# Of a search, as `Collection.search` has them.
_SEARCH_DEFAULTS: Mapping[str, Any] = {
    "k": 10,
    "ef_search": None,
    "exact": False,
    "score_threshold": None,
    "with_payloads": False,
    "with_vectors": False,
    "min_coverage": 1.0,
    "filter": None,
}


class QueryOperations:
    """Makes the operations on one collection."""

    def __init__(self, operations: Operations, collection: str) -> None:
        self._ask = operations.ask
        self._collection = collection

    def facets(
        self,
        field: str,
        filter: FilterLike | None,
        limit: int | None,
        min_coverage: float,
        timeout: float | None,
    ) -> Operation[Facets]:
        """Count items by values."""
        request = items_pb2.FacetItemsRequest(
            collection=self._collection,
            field=as_text("field", field),
            filter=None if filter is None else to_filter(as_filter(filter)),
            limit=None if limit is None else as_uint32("limit", limit),
            min_coverage=as_number("min_coverage", min_coverage),
        )
        response = yield from self._ask(calls.FACET_ITEMS, request, timeout)
        return from_facets(response)[0]

    def explain(
        self,
        query: ArrayLike | Query,
        item: int | str,
        timeout: float | None,
        search: Mapping[str, object],
    ) -> Operation[Explanation]:
        """Explain one item."""
        given = cast("dict[str, Any]", {**_SEARCH_DEFAULTS, **search})
        asked = search_request(self._collection, queries=query, **given)
        request = search_pb2.ExplainRequest(
            search=to_search(asked),
            id=to_ids(as_ids(cast(IdsLike, [item]))),
        )
        response = yield from self._ask(calls.EXPLAIN, request, timeout)
        return from_explanation(response)

    def append_to_set(
        self, name: str, ids: IdsLike, ttl: float | None, timeout: float | None
    ) -> Operation[int]:
        """Add ids, some at a time."""
        column, members = as_ids(ids), 0
        for span in spans_of_bytes(id_sizes(column)):
            request = sets_pb2.AppendToSetRequest(
                collection=self._collection,
                name=as_text("name", name),
                ids=to_ids(column[span]),
                ttl_s=None if ttl is None else as_number("ttl", ttl),
            )
            response = yield from self._ask(calls.APPEND_TO_SET, request, timeout)
            members = response.members
        return members

    def remove_from_set(self, name: str, ids: IdsLike, timeout: float | None) -> Operation[int]:
        """Take ids out, some at a time."""
        column, members = as_ids(ids), 0
        for span in spans_of_bytes(id_sizes(column)):
            request = sets_pb2.RemoveFromSetRequest(
                collection=self._collection, name=as_text("name", name), ids=to_ids(column[span])
            )
            response = yield from self._ask(calls.REMOVE_FROM_SET, request, timeout)
            members = response.members
        return members

    def expire_set(self, name: str, ttl: float, timeout: float | None) -> Operation[int]:
        """Give all members a time to live."""
        request = sets_pb2.ExpireSetRequest(
            collection=self._collection, name=as_text("name", name), ttl_s=as_number("ttl", ttl)
        )
        response = yield from self._ask(calls.EXPIRE_SET, request, timeout)
        return response.members

    def count_set(self, name: str, timeout: float | None) -> Operation[int]:
        """Count the members."""
        request = sets_pb2.GetSetRequest(
            collection=self._collection, name=as_text("name", name), without_ids=True
        )
        response = yield from self._ask(calls.GET_SET, request, timeout)
        return response.members

    def set_members(self, name: str, timeout: float | None) -> Operation[IdColumn]:
        """Read the members."""
        request = sets_pb2.GetSetRequest(collection=self._collection, name=as_text("name", name))
        response = yield from self._ask(calls.GET_SET, request, timeout)
        return from_ids(response.ids, "ids")

    def delete_set(self, name: str, timeout: float | None) -> Operation[None]:
        """Take all members out."""
        request = sets_pb2.DeleteSetRequest(collection=self._collection, name=as_text("name", name))
        yield from self._ask(calls.DELETE_SET, request, timeout)
