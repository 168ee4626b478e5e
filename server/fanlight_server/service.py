"""The servicers of a shard server: decode, call, encode.

Laws: no servicer decides anything. Whatever may take longer than a moment (the disk, large
columns) runs in a thread; the event loop decodes and encodes searches only. A shard answers
for itself, so its coverage is always 1 of 1.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeAlias

import grpc

from fanlight.cluster import ClusterStatus, ShardState, ShardStatus
from fanlight.model import Coverage, Explanation
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
from fanlight.validation import check_min_coverage
from fanlight.wire import codec
from fanlight.wire.answer_codec import from_explain, to_explanation, to_facets
from fanlight.wire.answers import AnswerRoom, AnswerStream
from fanlight.wire.cluster_codec import from_accept_data, to_cluster_status
from fanlight.wire.export_codec import from_export_request, to_export
from fanlight.wire.program import VERSION
from fanlight.wire.status import to_coverage, to_row_errors
from fanlight_server.core import CatalogCore
from fanlight_server.deleting import delete_matching
from fanlight_server.executor import SearchExecutor
from fanlight_server.export_stream import ExportStreams
from fanlight_server.workers import Workers

# A page of 768 dimensions with payloads is about 4 MiB.
PAGE_SIZE = 1_000

# Gives the catalog. Calls are refused until it is loaded.
CatalogGetter: TypeAlias = Callable[[], CatalogCore]
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def _own_coverage(items_covered: int) -> Any:
    return to_coverage(Coverage(1, 1, items_covered, items_covered))


def _check_min_coverage(
    request: collections.GetCollectionRequest
    | collections.ListCollectionsRequest
    | items.CountItemsRequest
    | items.FacetItemsRequest,
) -> None:
    """Refuse a share that is none, though one shard covers itself whatever the share."""
    if request.HasField("min_coverage"):
        check_min_coverage(request.min_coverage)


class CollectionServicer(collections_pb2_grpc.CollectionServiceServicer):
    """This shard's part of creating, describing and deleting collections."""

    def __init__(self, catalog: CatalogGetter, workers: Workers) -> None:
        self._catalog = catalog
        self._workers = workers

    async def CreateCollection(
        self, request: collections.CreateCollectionRequest, context: _Context
    ) -> collections.CreateCollectionResponse:
        """Create a collection."""

        def work() -> collections.CreateCollectionResponse:
            info = self._catalog().create(
                codec.from_spec(request.spec), _version(request), restoring=request.restoring
            )
            return collections.CreateCollectionResponse(collection=codec.to_info(info))

        return await self._workers.run(work)

    async def GetCollection(
        self, request: collections.GetCollectionRequest, context: _Context
    ) -> collections.GetCollectionResponse:
        """Describe one collection."""

        def work() -> collections.GetCollectionResponse:
            _check_min_coverage(request)
            info = self._catalog().get(request.name, "name").info()
            coverage = _own_coverage(info.items)
            return collections.GetCollectionResponse(
                collection=codec.to_info(info), coverage=coverage
            )

        return await self._workers.run(work)

    async def ListCollections(
        self, request: collections.ListCollectionsRequest, context: _Context
    ) -> collections.ListCollectionsResponse:
        """Describe all collections."""

        def work() -> collections.ListCollectionsResponse:
            _check_min_coverage(request)
            infos = self._catalog().describe()
            return collections.ListCollectionsResponse(
                collections=map(codec.to_info, infos),
                coverage=_own_coverage(sum(info.items for info in infos)),
            )

        return await self._workers.run(work)

    async def DeleteCollection(
        self, request: collections.DeleteCollectionRequest, context: _Context
    ) -> collections.DeleteCollectionResponse:
        """Delete a collection and all its items."""

        def work() -> collections.DeleteCollectionResponse:
            self._catalog().delete(request.name, _version(request))
            return collections.DeleteCollectionResponse()

        return await self._workers.run(work)

    async def UpdateCollection(
        self, request: collections.UpdateCollectionRequest, context: _Context
    ) -> collections.UpdateCollectionResponse:
        """Declare filterable fields, or drop some, or set `ef_search`."""

        def work() -> collections.UpdateCollectionResponse:
            catalog = self._catalog()
            if request.HasField("declaration"):
                info = catalog.declare(request.name, codec.from_declaration(request.declaration))
            else:
                info = catalog.update(request.name, *codec.from_update(request))
            return collections.UpdateCollectionResponse(collection=codec.to_info(info))

        return await self._workers.run(work)

    async def FinishRestore(
        self, request: collections.FinishRestoreRequest, context: _Context
    ) -> collections.FinishRestoreResponse:
        """Let a restored collection be read."""

        def work() -> collections.FinishRestoreResponse:
            info = self._catalog().finish_restore(request.name)
            return collections.FinishRestoreResponse(collection=codec.to_info(info))

        return await self._workers.run(work)


def _version(
    request: collections.CreateCollectionRequest | collections.DeleteCollectionRequest,
) -> int | None:
    return request.version if request.HasField("version") else None


class ItemServicer(items_pb2_grpc.ItemServiceServicer):
    """This shard's part of writing and reading items."""

    def __init__(self, catalog: CatalogGetter, workers: Workers, answers: AnswerRoom) -> None:
        self._catalog = catalog
        self._workers = workers
        self._answers = answers
        self._exports = ExportStreams(workers, answers.limits)

    async def UpsertItems(
        self, request: items.UpsertItemsRequest, context: _Context
    ) -> items.UpsertItemsResponse:
        """Write items."""
        collection = self._catalog().get(request.collection)
        result = await self._workers.write(
            lambda: collection.upsert(
                codec.from_upsert(request), timeout_s=context.time_remaining()
            )
        )
        return items.UpsertItemsResponse(
            written=result.written,
            errors=to_row_errors(result.errors),
            superseded_rows=result.superseded_rows.tolist(),
            coverage=_own_coverage(collection.count()),
        )

    async def DeleteItems(
        self, request: items.DeleteItemsRequest, context: _Context
    ) -> items.DeleteItemsResponse:
        """Delete items."""
        collection = self._catalog().get(request.collection)
        if request.HasField("filter"):
            filter = codec.filter_of_deletion(request)
            deleted = await delete_matching(
                collection, filter, self._workers, context.time_remaining()
            )
            coverage = _own_coverage(collection.count())
            return items.DeleteItemsResponse(deleted=deleted, coverage=coverage)
        result = await self._workers.write(
            lambda: collection.delete(
                codec.from_ids(request.ids, "ids"), timeout_s=context.time_remaining()
            )
        )
        return items.DeleteItemsResponse(
            deleted=result.deleted,
            errors=to_row_errors(result.errors),
            coverage=_own_coverage(collection.count()),
        )

    async def GetItems(
        self, request: items.GetItemsRequest, context: _Context
    ) -> items.GetItemsResponse:
        """Read items by id."""
        asked = codec.from_ids(request.ids, "ids")
        self._answers.hold_items(len(asked), context)

        def work() -> items.GetItemsResponse:
            collection = self._catalog().get(request.collection)
            found = collection.get(asked, **_columns(request))
            response = items.GetItemsResponse(coverage=_own_coverage(collection.count()))
            codec.fill_items(response, found)
            return response

        return await self._workers.run(work)

    async def ScrollItems(
        self, request: items.ScrollItemsRequest, context: _Context
    ) -> items.ScrollItemsResponse:
        """Read a page of items."""
        size = request.page_size if request.HasField("page_size") else PAGE_SIZE
        self._answers.hold_items(size, context)

        def work() -> items.ScrollItemsResponse:
            collection = self._catalog().get(request.collection)
            page = collection.scroll(size, request.page_token, **_columns(request))
            response = items.ScrollItemsResponse(
                next_page_token=page.next_page_token, coverage=_own_coverage(collection.count())
            )
            codec.fill_items(response, page.items)
            return response

        return await self._workers.run(work)

    async def ExportItems(
        self, request: items.ExportItemsRequest, context: _Context
    ) -> AsyncGenerator[items.ExportItemsResponse, None]:
        """Read all items of one moment."""
        catalog = self._catalog()
        shard, collection = catalog.identity, catalog.get(request.collection)
        parts = self._exports.parts(
            collection, shard, from_export_request(request), context.time_remaining()
        )
        async with aclosing(parts):
            async for part in parts:
                yield to_export(shard.index, part)

    async def CountItems(
        self, request: items.CountItemsRequest, context: _Context
    ) -> items.CountItemsResponse:
        """Count live items."""
        _check_min_coverage(request)
        collection = self._catalog().get(request.collection)
        filter = codec.filter_of(request)
        if filter is None:
            count = collection.count()
        else:
            count = await self._workers.run(lambda: collection.count(filter))
        return items.CountItemsResponse(count=count, coverage=_own_coverage(collection.count()))

    async def FacetItems(
        self, request: items.FacetItemsRequest, context: _Context
    ) -> items.FacetItemsResponse:
        """Count live items by the values of a field."""

        def work() -> items.FacetItemsResponse:
            _check_min_coverage(request)
            collection = self._catalog().get(request.collection)
            limit = request.limit if request.HasField("limit") else None
            facets = collection.facets(request.field, codec.filter_of(request), limit)
            n = collection.count()
            return to_facets(facets, Coverage(1, 1, n, n))

        return await self._workers.run(work)


def _columns(request: items.GetItemsRequest | items.ScrollItemsRequest) -> dict[str, bool]:
    """Tell which columns are wanted; both, unless the request says otherwise."""
    return {
        "with_vectors": request.with_vectors or not request.HasField("with_vectors"),
        "with_payloads": request.with_payloads or not request.HasField("with_payloads"),
    }


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    """Search over this shard's items."""

    def __init__(
        self, executor: SearchExecutor, answers: AnswerRoom, catalog: CatalogGetter
    ) -> None:
        self._executor = executor
        self._answers = answers
        self._catalog = catalog

    async def Search(
        self, request: search.SearchRequest, context: _Context
    ) -> search.SearchResponse:
        """Answer n queries."""
        asked = codec.from_search(request)
        self._answers.hold_hits(asked, context)
        return codec.to_hits(await self._executor.submit(asked, context.time_remaining()))

    async def SearchStream(
        self, request_iterator: AsyncIterable[search.SearchStreamRequest], context: _Context
    ) -> AsyncGenerator[search.SearchStreamResponse, None]:
        """Answer many searches, each as soon as it is done."""
        stream = AnswerStream(self._executor.submit, self._answers)
        async with aclosing(stream.answer(request_iterator)) as responses:
            async for response in responses:
                yield response

    async def Explain(
        self, request: search.ExplainRequest, context: _Context
    ) -> search.ExplainResponse:
        """Tell why an item is, or is not, in the answer to a search."""

        asked, id_, score = from_explain(request)
        catalog = self._catalog()

        def work(timeout_s: float | None) -> Explanation:
            collection = catalog.get(asked.collection)
            return collection.explain(asked, id_, score, timeout_s=timeout_s)

        explanation = await self._executor.run(asked, work, context.time_remaining())
        return to_explanation(replace(explanation, shard=catalog.identity.name))


class ClusterServicer(cluster_pb2_grpc.ClusterServiceServicer):
    """This shard's own status, and what it knows of others."""

    def __init__(
        self, catalog: CatalogGetter, workers: Workers, address: Callable[[], str]
    ) -> None:
        self._catalog = catalog
        self._workers = workers
        self._address = address

    async def GetStatus(
        self, request: cluster_pb2.GetStatusRequest, context: _Context
    ) -> cluster_pb2.GetStatusResponse:
        """Report this shard as a cluster of what it knows: itself."""

        def work() -> cluster_pb2.GetStatusResponse:
            catalog = self._catalog()
            refusal = catalog.write_refusal
            shard = ShardStatus(
                identity=catalog.identity,
                address=self._address(),
                state=ShardState.SERVING if refusal is None else ShardState.READ_ONLY,
                error=refusal,
                collections=tuple(catalog.describe(with_deleted=True)),
                version=VERSION,
                data_id=catalog.data_id,
                peers=catalog.peers,
            )
            return to_cluster_status(ClusterStatus(catalog.identity.cluster, (shard,), VERSION))

        return await self._workers.run(work)

    async def AcceptData(
        self, request: cluster_pb2.AcceptDataRequest, context: _Context
    ) -> cluster_pb2.AcceptDataResponse:
        """Take data for that of other shards from now on."""
        data = from_accept_data(request)
        catalog = self._catalog()
        await self._workers.run(lambda: catalog.accept_data(data, replace=request.replace))
        return cluster_pb2.AcceptDataResponse()
