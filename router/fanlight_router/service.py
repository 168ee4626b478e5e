"""The servicers of a router: decode, call, encode.

Law: no servicer decides anything but the caller's deadline.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from fanlight.exports import ExportEnd
from fanlight.v1 import (
    cluster_pb2,
    cluster_pb2_grpc,
    collections_pb2_grpc,
    items_pb2_grpc,
    search_pb2_grpc,
)
from fanlight.v1 import collections_pb2 as collections
from fanlight.v1 import items_pb2 as items
from fanlight.v1 import search_pb2 as search
from fanlight.wire import codec
from fanlight.wire.answer_codec import from_explain, to_explanation, to_facets
from fanlight.wire.answers import AnswerRoom, AnswerStream
from fanlight.wire.cluster_codec import from_accept_data, to_cluster_status
from fanlight.wire.export_codec import from_export_request, to_export
from fanlight.wire.stacker import Stacker
from fanlight.wire.status import to_coverage, to_row_errors
from fanlight_router.catalog import ClusterCatalog
from fanlight_router.config import TimeoutsConfig
from fanlight_router.deadline import Deadline
from fanlight_router.exports import ExportingShard, FailedShard, export
from fanlight_router.fanout import Fanout
from fanlight_router.items import PlacedItems
from fanlight_router.shards import Columns
from fanlight_router.topology import Topology

# What the contract says of a scroll that names none.
_PAGE_SIZE = 1_000

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long the calls of callers may take."""

    timeouts: TimeoutsConfig

    def of_read(self, context: _Context) -> Deadline:
        """Give the deadline of a search or another read."""
        return self.of_search(context.time_remaining())

    def of_search(self, timeout_s: float | None) -> Deadline:
        """Give the deadline of a search whose caller waits that long."""
        return Deadline.of_call(timeout_s, self.timeouts.search_s)

    def of_export(self, context: _Context, longest_s: float) -> Deadline:
        """Give the deadline of an export."""
        return Deadline.of_call(context.time_remaining(), longest_s)

    def of_write(self, context: _Context) -> Deadline:
        """Give the deadline of a write."""
        return Deadline.of_call(context.time_remaining(), self.timeouts.write_s)


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    """Search over all shards."""

    def __init__(
        self, stacker: Stacker, answers: AnswerRoom, fanout: Fanout, deadlines: Deadlines
    ) -> None:
        self._stacker = stacker
        self._answers = answers
        self._fanout = fanout
        self._deadlines = deadlines

    async def Explain(
        self, request: search.ExplainRequest, context: _Context
    ) -> search.ExplainResponse:
        """Tell why an item is, or is not, in the answer to a search."""
        asked, id_, score = from_explain(request)
        deadline = self._deadlines.of_read(context)
        return to_explanation(await self._fanout.explain(asked, id_, deadline, score))

    async def Search(
        self, request: search.SearchRequest, context: _Context
    ) -> search.SearchResponse:
        """Answer n queries."""
        asked = codec.from_search(request)
        self._answers.hold_hits(asked, context)
        return codec.to_hits(await self._stacker.submit(asked, context.time_remaining()))

    async def SearchStream(
        self, request_iterator: AsyncIterable[search.SearchStreamRequest], context: _Context
    ) -> AsyncGenerator[search.SearchStreamResponse, None]:
        """Answer many searches, each as soon as it is done."""
        stream = AnswerStream(self._stacker.submit, self._answers)
        async with aclosing(stream.answer(request_iterator)) as responses:
            async for response in responses:
                yield response


class ItemServicer(items_pb2_grpc.ItemServiceServicer):
    """Writes and reads of items, each on the shard that owns it."""

    def __init__(
        self,
        placed: PlacedItems,
        fanout: Fanout,
        deadlines: Deadlines,
        answers: AnswerRoom,
        exporting: Sequence[ExportingShard],
        export_s: float,
    ) -> None:
        self._placed = placed
        self._fanout = fanout
        self._deadlines = deadlines
        self._answers = answers
        self._exporting = exporting
        self._export_s = export_s

    async def UpsertItems(
        self, request: items.UpsertItemsRequest, context: _Context
    ) -> items.UpsertItemsResponse:
        """Write items."""
        result, coverage = await self._placed.upsert(
            request.collection, codec.from_upsert(request), self._deadlines.of_write(context)
        )
        return items.UpsertItemsResponse(
            written=result.written,
            errors=to_row_errors(result.errors),
            superseded_rows=result.superseded_rows.tolist(),
            coverage=to_coverage(coverage),
        )

    async def DeleteItems(
        self, request: items.DeleteItemsRequest, context: _Context
    ) -> items.DeleteItemsResponse:
        """Delete items."""
        if request.HasField("filter"):
            filter, deadline = codec.filter_of_deletion(request), self._deadlines.of_write(context)
            deleted, coverage = await self._fanout.delete_matching(
                request.collection, filter, deadline
            )
            return items.DeleteItemsResponse(deleted=deleted, coverage=to_coverage(coverage))
        result, coverage = await self._placed.delete(
            request.collection,
            codec.from_ids(request.ids, "ids"),
            self._deadlines.of_write(context),
        )
        return items.DeleteItemsResponse(
            deleted=result.deleted,
            errors=to_row_errors(result.errors),
            coverage=to_coverage(coverage),
        )

    async def GetItems(
        self, request: items.GetItemsRequest, context: _Context
    ) -> items.GetItemsResponse:
        """Read items by id."""
        asked = codec.from_ids(request.ids, "ids")
        self._answers.hold_items(len(asked), context)
        found, coverage = await self._placed.get(
            request.collection,
            asked,
            _columns(request),
            self._deadlines.of_read(context),
        )
        response = items.GetItemsResponse(coverage=to_coverage(coverage))
        codec.fill_items(response, found)
        return response

    async def ScrollItems(
        self, request: items.ScrollItemsRequest, context: _Context
    ) -> items.ScrollItemsResponse:
        """Read a page of items."""
        size = request.page_size if request.HasField("page_size") else _PAGE_SIZE
        self._answers.hold_items(size, context)
        page, coverage = await self._fanout.scroll(
            request.collection,
            size,
            request.page_token,
            _columns(request),
            self._deadlines.of_read(context),
        )
        response = items.ScrollItemsResponse(
            next_page_token=page.next_page_token, coverage=to_coverage(coverage)
        )
        codec.fill_items(response, page.items)
        return response

    async def ExportItems(
        self, request: items.ExportItemsRequest, context: _Context
    ) -> AsyncGenerator[Any, None]:
        """Read all items; the messages of shards are passed on as they came: as bytes."""
        deadline = self._deadlines.of_export(context, self._export_s)
        parts = export(self._exporting, from_export_request(request), deadline)
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, FailedShard):
                    yield to_export(part.shard, ExportEnd(part.error))
                else:
                    yield part

    async def CountItems(
        self, request: items.CountItemsRequest, context: _Context
    ) -> items.CountItemsResponse:
        """Count live items."""
        count, coverage = await self._fanout.count(
            request.collection,
            _min_coverage(request),
            self._deadlines.of_read(context),
            codec.filter_of(request),
        )
        return items.CountItemsResponse(count=count, coverage=to_coverage(coverage))

    async def FacetItems(
        self, request: items.FacetItemsRequest, context: _Context
    ) -> items.FacetItemsResponse:
        """Count live items by the values of a field."""
        facets, coverage = await self._fanout.facets(
            request.collection,
            request.field,
            codec.filter_of(request),
            request.limit if request.HasField("limit") else None,
            _min_coverage(request),
            self._deadlines.of_read(context),
        )
        return to_facets(facets, coverage)


def _columns(request: items.GetItemsRequest | items.ScrollItemsRequest) -> Columns:
    """Tell which columns are wanted; both, unless the request says otherwise."""
    return Columns(
        vectors=request.with_vectors or not request.HasField("with_vectors"),
        payloads=request.with_payloads or not request.HasField("with_payloads"),
    )


class CollectionServicer(collections_pb2_grpc.CollectionServiceServicer):
    """The collections over all shards."""

    def __init__(self, catalog: ClusterCatalog, deadlines: Deadlines) -> None:
        self._catalog = catalog
        self._deadlines = deadlines

    async def CreateCollection(
        self, request: collections.CreateCollectionRequest, context: _Context
    ) -> collections.CreateCollectionResponse:
        """Create a collection on all shards."""
        spec = codec.from_spec(request.spec)
        info = await self._catalog.create(
            spec, self._deadlines.of_write(context), restoring=request.restoring
        )
        return collections.CreateCollectionResponse(collection=codec.to_info(info))

    async def GetCollection(
        self, request: collections.GetCollectionRequest, context: _Context
    ) -> collections.GetCollectionResponse:
        """Describe one collection."""
        deadline = self._deadlines.of_read(context)
        info, coverage = await self._catalog.get(request.name, _min_coverage(request), deadline)
        return collections.GetCollectionResponse(
            collection=codec.to_info(info), coverage=to_coverage(coverage)
        )

    async def ListCollections(
        self, request: collections.ListCollectionsRequest, context: _Context
    ) -> collections.ListCollectionsResponse:
        """Describe all collections."""
        deadline = self._deadlines.of_read(context)
        infos, coverage = await self._catalog.list_all(_min_coverage(request), deadline)
        return collections.ListCollectionsResponse(
            collections=map(codec.to_info, infos), coverage=to_coverage(coverage)
        )

    async def DeleteCollection(
        self, request: collections.DeleteCollectionRequest, context: _Context
    ) -> collections.DeleteCollectionResponse:
        """Delete a collection on all shards."""
        await self._catalog.delete(request.name, self._deadlines.of_write(context))
        return collections.DeleteCollectionResponse()

    async def UpdateCollection(
        self, request: collections.UpdateCollectionRequest, context: _Context
    ) -> collections.UpdateCollectionResponse:
        """Declare filterable fields on all shards, or drop some, or set `ef_search`."""
        name, deadline = request.name, self._deadlines.of_write(context)
        if request.HasField("declaration"):
            declaration = codec.from_declaration(request.declaration)
            info = await self._catalog.declare(name, declaration, deadline)
        else:
            add, drop, ef_search = codec.from_update(request)
            info = await self._catalog.update(name, add, drop, deadline, ef_search)
        return collections.UpdateCollectionResponse(collection=codec.to_info(info))

    async def FinishRestore(
        self, request: collections.FinishRestoreRequest, context: _Context
    ) -> collections.FinishRestoreResponse:
        """Let a restored collection be read on all shards."""
        deadline = self._deadlines.of_write(context)
        info = await self._catalog.finish_restore(request.name, deadline)
        return collections.FinishRestoreResponse(collection=codec.to_info(info))


def _min_coverage(
    request: items.CountItemsRequest
    | items.FacetItemsRequest
    | collections.GetCollectionRequest
    | collections.ListCollectionsRequest,
) -> float:
    return request.min_coverage if request.HasField("min_coverage") else 1.0


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    """The status of every shard of the map, and which data is theirs."""

    def __init__(self, topology: Topology, deadlines: Deadlines) -> None:
        self._topology = topology
        self._deadlines = deadlines

    async def GetStatus(
        self, request: cluster_pb2.GetStatusRequest, context: _Context
    ) -> cluster_pb2.GetStatusResponse:
        """Report the shards as they are now."""
        await self._topology.refresh()
        return to_cluster_status(self._topology.status)

    async def AcceptData(
        self, request: cluster_pb2.AcceptDataRequest, context: _Context
    ) -> cluster_pb2.AcceptDataResponse:
        """Let all shards take data for that of the shards that stand on it."""
        data, deadline = from_accept_data(request), self._deadlines.of_write(context)
        await self._topology.accept_data(data, deadline, replace=request.replace)
        return cluster_pb2.AcceptDataResponse()
