"""Everything a client can do, written once for both of its colours.

Each method gives an operation (see `fanlight.calls`): it checks what it was given, yields the
calls to make, and returns the result. `fanlight.client` and `fanlight.aio` are thin faces over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from google.protobuf.message import Message
from numpy.typing import ArrayLike

from fanlight import calls
from fanlight.calls import Operation, ResponseT, Rpc, T, Window, open_stream, send
from fanlight.chunks import (
    READ_ID_ROWS,
    READ_ROWS,
    check_row_bytes,
    join_hits,
    part_of_search,
    queries_of_chunk,
    spans_of_bytes,
    spans_of_rows,
)
from fanlight.cluster import ClusterStatus, ShardStatus
from fanlight.conditions import FilterLike, as_filter
from fanlight.errors import InvalidRequest, RowError
from fanlight.examples import as_composed, as_exclusions, is_composed
from fanlight.exports import ExportRequest
from fanlight.ids import IdsLike, last_occurrences
from fanlight.inputs import (
    OnError,
    Payload,
    as_choice,
    as_field_names,
    as_filterable,
    as_ids,
    as_name,
    as_number,
    as_payload_blobs,
    as_queries,
    as_timeout,
    as_uint32,
    as_vectors,
    check_length,
    check_on_error,
    id_sizes,
)
from fanlight.items import join_items
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    DeleteResult,
    Hits,
    IdColumn,
    IdType,
    ItemBatch,
    Items,
    Metric,
    Page,
    Rows,
    SearchRequest,
    UpsertResult,
)
from fanlight.queries import Query, Slate
from fanlight.refusals import settle
from fanlight.retry import Budget, RetryPolicy, Throttle
from fanlight.stacking import size_of
from fanlight.v1 import cluster_pb2, collections_pb2, items_pb2
from fanlight.wire.cluster_codec import from_cluster_status, to_accept_data
from fanlight.wire.codec import (
    from_info,
    from_items,
    to_ids,
    to_spec,
    to_update,
    to_upsert,
)
from fanlight.wire.export_codec import to_export_request
from fanlight.wire.filter_codec import to_filter
from fanlight.writes import BatchWrite

# One answer is worked on while the next request is on its way; more would share the same cores
# and only be later, each of them.
_READS_IN_FLIGHT = 2


class Operations:
    """Makes the operations of one client."""

    def __init__(self, timeout: float | None, max_attempts: int) -> None:
        """Set what calls use that say nothing of their own.

        Args:
            timeout: seconds; None for each method's own default.
            max_attempts: times a request is sent at the most.

        Raises:
            InvalidRequest: a timeout or attempts not above 0.
        """
        self._timeout_s = None if timeout is None else as_timeout(timeout, 0.0)
        self._throttle = Throttle()
        self._policy = RetryPolicy(attempts=as_uint32("max_attempts", max_attempts, least=1))

    def _budget_maker(self, rpc: Rpc[Any], timeout: float | None) -> Callable[[], Budget]:
        seconds = as_timeout(timeout, self._timeout_s or rpc.timeout_s)
        return lambda: Budget(self._policy, seconds, self._throttle)

    def ask(
        self, rpc: Rpc[ResponseT], request: Message, timeout: float | None
    ) -> Operation[ResponseT]:
        """Send one request."""
        return send(rpc, request, self._budget_maker(rpc, timeout)())

    # --- collections and the cluster ------------------------------------------------------

    def create_collection(
        self,
        name: str,
        *,
        dim: int,
        metric: str,
        id_type: str,
        m: int,
        ef_construction: int,
        filterable: Mapping[str, str] | None,
        timeout: float | None,
    ) -> Operation[CollectionInfo]:
        """Create a collection, or find one with the same parameters."""
        spec = CollectionSpec(
            name=as_name(name),
            dim=as_uint32("dim", dim),
            metric=as_choice("metric", metric, Metric),
            id_type=as_choice("id_type", id_type, IdType),
            m=as_uint32("m", m),
            ef_construction=as_uint32("ef_construction", ef_construction),
            filterable=as_filterable(filterable),
        )
        request = collections_pb2.CreateCollectionRequest(spec=to_spec(spec))
        response = yield from self.ask(calls.CREATE_COLLECTION, request, timeout)
        return from_info(response.collection)

    def get_collection(
        self, name: str, *, min_coverage: float, timeout: float | None
    ) -> Operation[CollectionInfo]:
        """Describe a collection."""
        request = collections_pb2.GetCollectionRequest(
            name=as_name(name), min_coverage=as_number("min_coverage", min_coverage)
        )
        response = yield from self.ask(calls.GET_COLLECTION, request, timeout)
        return from_info(response.collection)

    def list_collections(
        self, *, min_coverage: float, timeout: float | None
    ) -> Operation[list[CollectionInfo]]:
        """Describe all collections."""
        request = collections_pb2.ListCollectionsRequest(
            min_coverage=as_number("min_coverage", min_coverage)
        )
        response = yield from self.ask(calls.LIST_COLLECTIONS, request, timeout)
        return [from_info(info) for info in response.collections]

    def create_restoring(
        self, spec: CollectionSpec, timeout: float | None
    ) -> Operation[CollectionInfo]:
        """Create a collection that refuses reads until `finish_restore`."""
        request = collections_pb2.CreateCollectionRequest(spec=to_spec(spec), restoring=True)
        response = yield from self.ask(calls.CREATE_COLLECTION, request, timeout)
        return from_info(response.collection)

    def finish_restore(self, name: str, timeout: float | None) -> Operation[CollectionInfo]:
        """Let a restored collection be read."""
        request = collections_pb2.FinishRestoreRequest(name=name)
        response = yield from self.ask(calls.FINISH_RESTORE, request, timeout)
        return from_info(response.collection)

    def update_collection(
        self,
        name: str,
        *,
        add_fields: Mapping[str, str] | None,
        drop_fields: Sequence[str],
        timeout: float | None,
        ef_search: int | None = None,
    ) -> Operation[CollectionInfo]:
        """Declare filterable fields, drop declared ones, or set the default of `ef_search`."""
        request = to_update(
            as_name(name),
            as_filterable(add_fields, "add_fields"),
            as_field_names(drop_fields),
            None if ef_search is None else as_uint32("ef_search", ef_search),
        )
        response = yield from self.ask(calls.UPDATE_COLLECTION, request, timeout)
        return from_info(response.collection)

    def delete_collection(self, name: str, timeout: float | None) -> Operation[None]:
        """Delete a collection and its items."""
        request = collections_pb2.DeleteCollectionRequest(name=as_name(name))
        yield from self.ask(calls.DELETE_COLLECTION, request, timeout)

    def status(self, timeout: float | None) -> Operation[ClusterStatus]:
        """Tell how the cluster stands."""
        request = cluster_pb2.GetStatusRequest()
        response = yield from self.ask(calls.GET_STATUS, request, timeout)
        return from_cluster_status(response)

    def accept_data(self, shard: ShardStatus, timeout: float | None) -> Operation[None]:
        """Take the data that a shard stands on for its own."""
        request = to_accept_data({shard.identity.index: shard.data_id}, replace=True)
        yield from self.ask(calls.ACCEPT_DATA, request, timeout)

    # --- items ----------------------------------------------------------------------------

    def upsert(
        self,
        collection: str,
        ids: IdsLike,
        vectors: ArrayLike,
        payloads: Sequence[Payload] | None,
        *,
        progress: bool | None,
        errors: OnError,
        timeout: float | None,
    ) -> Operation[UpsertResult]:
        """Write items."""
        batch = _as_batch(ids, vectors, payloads)
        return (
            yield from self.upsert_batch(
                collection, batch, progress=progress, errors=errors, timeout=timeout
            )
        )

    def upsert_batch(
        self,
        collection: str,
        batch: ItemBatch,
        *,
        progress: bool | None = False,
        errors: OnError = "raise",
        timeout: float | None = None,
    ) -> Operation[UpsertResult]:
        """Write items that are columns already."""
        check_on_error(errors)
        kept, superseded = last_occurrences(batch.ids)
        sizes = _row_bytes(batch)
        check_row_bytes(sizes)
        write = BatchWrite(
            calls.UPSERT_ITEMS,
            lambda rows: to_upsert(collection, batch.take(rows)),
            lambda response: response.written,
            self._budget_maker(calls.UPSERT_ITEMS, timeout),
        )
        yield from write.run([kept[span] for span in spans_of_bytes(sizes[kept])], progress)
        result = UpsertResult(write.done, write.errors, superseded)
        total = len(batch.ids)
        words = ("rows refused", "the others were written")
        return settle(result, result.errors, total, words, errors)

    def delete(
        self,
        collection: str,
        ids: IdsLike | None,
        *,
        filter: FilterLike | None = None,
        errors: OnError,
        timeout: float | None,
    ) -> Operation[DeleteResult]:
        """Delete items by id, or those that satisfy a filter."""
        if (ids is None) == (filter is None):
            got = "neither" if ids is None else "both"
            raise InvalidRequest.of_field("ids", "ids or a filter", got)
        if ids is None:
            request = items_pb2.DeleteItemsRequest(
                collection=collection, filter=to_filter(as_filter(cast(FilterLike, filter)))
            )
            response = yield from self.ask(calls.DELETE_MATCHING, request, timeout)
            return DeleteResult(response.deleted)
        check_on_error(errors)
        column = as_ids(ids)
        write = BatchWrite(
            calls.DELETE_ITEMS,
            lambda rows: items_pb2.DeleteItemsRequest(
                collection=collection, ids=to_ids(column[rows])
            ),
            lambda response: response.deleted,
            self._budget_maker(calls.DELETE_ITEMS, timeout),
        )
        rows = np.arange(len(column))
        yield from write.run([rows[s] for s in spans_of_bytes(id_sizes(column))], progress=False)
        result = DeleteResult(write.done, write.errors)
        total = len(column)
        words = ("rows refused", "the others were deleted")
        return settle(result, result.errors, total, words, errors)

    def get(
        self,
        collection: str,
        ids: IdsLike,
        *,
        with_vectors: bool,
        with_payloads: bool,
        timeout: float | None,
    ) -> Operation[Items]:
        """Read items by id."""
        column = as_ids(ids)
        id_sizes(column)
        make_budget = self._budget_maker(calls.GET_ITEMS, timeout)

        def part(span: slice) -> Operation[Items]:
            request = items_pb2.GetItemsRequest(
                collection=collection,
                ids=to_ids(column[span]),
                with_vectors=with_vectors,
                with_payloads=with_payloads,
            )
            response = yield from send(calls.GET_ITEMS, request, make_budget())
            return from_items(response)

        most = READ_ROWS if with_vectors or with_payloads else READ_ID_ROWS
        return join_items((yield from _in_parts(part, spans_of_rows(len(column), most))))

    def scroll_page(
        self,
        collection: str,
        page_size: int,
        page_token: bytes,
        *,
        with_vectors: bool,
        with_payloads: bool,
        timeout: float | None,
    ) -> Operation[Page]:
        """Read one page of all items."""
        request = items_pb2.ScrollItemsRequest(
            collection=collection,
            page_size=as_uint32("page_size", page_size),
            page_token=page_token,
            with_vectors=with_vectors,
            with_payloads=with_payloads,
        )
        response = yield from self.ask(calls.SCROLL_ITEMS, request, timeout)
        return Page(from_items(response), response.next_page_token)

    def export(self, request: ExportRequest, timeout: float | None) -> Operation[Any]:
        """Begin to read all items; gives the stream of messages."""
        message = to_export_request(request)
        budget = self._budget_maker(calls.EXPORT_ITEMS, timeout)()
        return (yield from open_stream(calls.EXPORT_ITEMS, message, budget))

    def count(
        self,
        collection: str,
        *,
        min_coverage: float,
        timeout: float | None,
        filter: FilterLike | None = None,
    ) -> Operation[int]:
        """Count live items, or those that satisfy a filter."""
        request = items_pb2.CountItemsRequest(
            collection=collection,
            min_coverage=as_number("min_coverage", min_coverage),
            filter=None if filter is None else to_filter(as_filter(filter)),
        )
        response = yield from self.ask(calls.COUNT_ITEMS, request, timeout)
        return response.count

    # --- search ---------------------------------------------------------------------------

    def search(
        self, request: SearchRequest, errors: OnError, timeout: float | None
    ) -> Operation[Hits]:
        """Answer queries, some at a time."""
        check_on_error(errors)
        make_budget = self._budget_maker(calls.SEARCH, timeout)

        def part(span: slice) -> Operation[Hits]:
            asked = request if len(spans) == 1 else part_of_search(request, span)
            return calls.find(asked, make_budget())

        total = size_of(request)
        spans = spans_of_rows(total, queries_of_chunk(request))
        hits = join_hits((yield from _in_parts(part, spans)))
        failed = [RowError(row, hits.errors[row]) for row in sorted(hits.errors)]
        words = ("queries failed", "the others were answered")
        return settle(hits, failed, total, words, errors)


def search_request(
    collection: str,
    *,
    queries: ArrayLike | Query | Sequence[Query] | None = None,
    ids: IdsLike | None = None,
    k: int,
    ef_search: int | None,
    exact: bool,
    score_threshold: float | None,
    with_payloads: bool,
    with_vectors: bool,
    min_coverage: float,
    filter: FilterLike | None,
    exclude_ids: IdsLike | None = None,
    exclude_sets: Sequence[str] = (),
    slate: Slate | None = None,
) -> SearchRequest:
    """Make a search for vectors or queries by meaning, or for the neighbours of stored items.

    Raises:
        InvalidRequest: a parameter is of another type, or cannot travel.
    """
    composed = is_composed(queries)
    return SearchRequest(
        collection=collection,
        vectors=None
        if composed or ids is not None
        else as_queries("queries", cast(ArrayLike, queries)),
        ids=None if ids is None else _as_query_ids(ids),
        composed=as_composed(cast("Query | Sequence[Query]", queries)) if composed else None,
        k=as_uint32("k", k),
        ef_search=None if ef_search is None else as_uint32("ef_search", ef_search),
        exact=bool(exact),
        score_threshold=None
        if score_threshold is None
        else as_number("score_threshold", score_threshold),
        with_payloads=bool(with_payloads),
        with_vectors=bool(with_vectors),
        min_coverage=as_number("min_coverage", min_coverage),
        filter=None if filter is None else as_filter(filter),
        exclude=as_exclusions(exclude_ids, exclude_sets),
        slate=slate,
    )


def _as_query_ids(ids: IdsLike) -> IdColumn:
    column = as_ids(ids)
    id_sizes(column)  # refuses what cannot travel
    return column


def _in_parts(part: Callable[[slice], Operation[T]], spans: Sequence[slice]) -> Operation[list[T]]:
    """Run one operation a span, side by side; a single one without the cost of a window."""
    if len(spans) == 1:
        return [(yield from part(spans[0]))]
    results: list[T] = yield Window(map(part, spans), _READS_IN_FLIGHT)
    return results


def _as_batch(ids: IdsLike, vectors: ArrayLike, payloads: Sequence[Payload] | None) -> ItemBatch:
    column, matrix = as_ids(ids), as_vectors("vectors", vectors)
    blobs = as_payload_blobs(payloads)
    check_length("vectors", len(matrix), len(column))
    if blobs is not None:
        check_length("payloads", len(blobs), len(column))
    return ItemBatch(column, matrix, blobs)


def _row_bytes(batch: ItemBatch) -> Rows:
    """Measure each row of a batch on the wire."""
    sizes: Rows = id_sizes(batch.ids) + batch.vectors.shape[1] * batch.vectors.itemsize
    if batch.payload_blobs is not None:
        sizes += np.fromiter(map(len, batch.payload_blobs), dtype=np.int64, count=len(sizes))
    return sizes
