"""A shard behind a channel.

Laws: every failure of the wire becomes an error of `fanlight.errors` whose text tells a caller
nothing about addresses. A malformed answer is the shard's fault, never the caller's. Nothing but
a look at its status, and which data others have, is sent to a shard until it was admitted, and after
the connection was lost until it is admitted again: what answers at its address may be something else
by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import grpc
import numpy as np
import structlog

from fanlight.cluster import ShardState, ShardStatus
from fanlight.declarations import Declaration
from fanlight.errors import (
    FanlightError,
    InternalError,
    InvalidRequest,
    NotReady,
    PermissionDenied,
    Unauthenticated,
    WrongShard,
)
from fanlight.exports import ExportRequest
from fanlight.filters import Filter
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    Coverage,
    DeleteResult,
    Explanation,
    Facets,
    Hits,
    IdColumn,
    ItemBatch,
    Items,
    Page,
    SearchRequest,
    UpsertResult,
)
from fanlight.placement import ShardIdentity
from fanlight.stacking import size_of
from fanlight.v1 import cluster_pb2 as cluster
from fanlight.v1 import (
    cluster_pb2_grpc,
    collections_pb2_grpc,
    items_pb2_grpc,
    search_pb2_grpc,
    sets_pb2_grpc,
)
from fanlight.v1 import collections_pb2 as collections
from fanlight.v1 import items_pb2 as items
from fanlight.v1 import search_pb2 as search
from fanlight.wire import codec
from fanlight.wire.answer_codec import from_explanation, from_facets
from fanlight.wire.channels import channel_options
from fanlight.wire.cluster_codec import from_cluster_status, to_accept_data
from fanlight.wire.dialing import AsyncSeat, Identity
from fanlight.wire.export_codec import to_export_request
from fanlight.wire.filter_codec import to_filter
from fanlight.wire.pieces import Pieces
from fanlight.wire.search_pieces import pieces_of
from fanlight.wire.status import from_coverage, from_row_errors, from_rpc_error, has_detail
from fanlight.wire.stream import Decode, SearchStream
from fanlight_router.decoding import decoding
from fanlight_router.remote_sets import RemoteSets
from fanlight_router.shards import Columns

T = TypeVar("T")
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

if TYPE_CHECKING:
    _Method: TypeAlias = grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT]

# As many hits take 1 ms to decode, but 60 ms when their ids are strings (measured), which is
# longer than other callers on the loop should wait.
_HITS_ON_LOOP = 200_000
# gRPC looks a name up again after 30 s at the soonest, but a shard that moved to another address
# must be found within about a second.
_DNS_OPTION = ("grpc.dns_min_time_between_resolutions_ms", 1_000)
_UNREACHABLE = "cannot be reached"
_NOT_TRUSTED = "does not accept this router's credentials"
# How long calls may go on on a connection that was replaced: longer than callers wait.
_LAST_CALLS_S = 300.0

_log = structlog.get_logger("fanlight.router")


class SearchEncoder:
    """Encodes a search once for all shards that it goes to.

    A fan-out asks its shards one after the other, so to remember the last search is enough.
    """

    def __init__(self) -> None:
        self._request: SearchRequest | None = None
        self._pieces: Pieces = ()

    def encode(self, request: SearchRequest) -> Pieces:
        """Give the message of a search, serialized."""
        if request is not self._request:
            self._request, self._pieces = request, pieces_of(request)
        return self._pieces


class RemoteShard(RemoteSets):
    """One shard server, as `fanlight_router.shards.Shard` and more. For one event loop.

    Attributes:
        identity: which shard it should be.
        address: "host:port" where it should be.
        lost: set when the connection broke.
    """

    def __init__(
        self,
        identity: ShardIdentity,
        address: str,
        encoder: SearchEncoder,
        message_bytes: int,
        target: str | None = None,
        identity_shown: Identity | None = None,
    ) -> None:
        """Make a channel, which connects when it is first used.

        Args:
            identity: which shard it should be.
            address: where it should be.
            encoder: shared by the shards of one router.
            message_bytes: largest message either way.
            target: how to connect to it, if not by that address.
            identity_shown: how to encrypt, and which key to show.
        """
        self.identity = identity
        self.address = address
        self.lost = asyncio.Event()
        self._refusal: FanlightError | None = NotReady("was not looked at yet")
        self._encoder = encoder
        options = [*channel_options(message_bytes), _DNS_OPTION]
        dial = (identity_shown or Identity()).async_channel
        self._channel = dial(target or address, options)
        self._renewal_failed = False
        # The generated stubs of both kinds of channel are one class with two types.
        self._cluster = cast(
            "cluster_pb2_grpc.ClusterServiceAsyncStub",
            cluster_pb2_grpc.ClusterServiceStub(self._channel),
        )
        self._collections = cast(
            "collections_pb2_grpc.CollectionServiceAsyncStub",
            collections_pb2_grpc.CollectionServiceStub(self._channel),
        )
        self._items = cast(
            "items_pb2_grpc.ItemServiceAsyncStub", items_pb2_grpc.ItemServiceStub(self._channel)
        )
        # Without a deserializer a message is its bytes.
        self._export: Any = self._channel.unary_stream(
            "/fanlight.v1.ItemService/ExportItems",
            request_serializer=items.ExportItemsRequest.SerializeToString,
        )
        searches = cast(
            "search_pb2_grpc.SearchServiceAsyncStub",
            search_pb2_grpc.SearchServiceStub(self._channel),
        )
        self._unary_searches = searches
        self._sets = cast(
            "sets_pb2_grpc.SetServiceAsyncStub", sets_pb2_grpc.SetServiceStub(self._channel)
        )
        self._searches = SearchStream(self._channel, message_bytes, self._on_break)

    # --- admission ------------------------------------------------------------------------

    @property
    def is_admitted(self) -> bool:
        """Tell whether calls are sent."""
        return self._refusal is None

    def admit(self) -> None:
        """Send calls from now on, and hold a stream open that tells when the connection breaks."""
        self._refusal = None
        self._searches.open()

    def refuse(self, reason: FanlightError) -> None:
        """Fail calls with a copy of this error from now on."""
        self._refusal = reason

    async def status(self, timeout_s: float, *, wait: bool) -> ShardStatus:
        """Look at the shard, admitted or not.

        Args:
            timeout_s: seconds.
            wait: whether to wait for a connection, instead of failing when there is none.

        Returns:
            What it says of itself, or that it does not answer.
        """
        try:
            response = await self._cluster.GetStatus(
                cluster.GetStatusRequest(), timeout=timeout_s, wait_for_ready=wait
            )
            with decoding():
                shards = from_cluster_status(response).shards
        except grpc.aio.AioRpcError as error:
            reason = self._translated(error)
            if has_detail(error):
                return self._not_serving(ShardState.NOT_SERVING, reason)
            return self._not_serving(ShardState.UNREACHABLE, NotReady(_UNREACHABLE))
        except InternalError as error:
            return self._not_serving(ShardState.NOT_SERVING, error)
        if len(shards) != 1:
            reason = WrongShard(f"expected one shard at its address, got {len(shards)}")
            return self._not_serving(ShardState.MISMATCHED, reason)
        return shards[0]

    async def accept_data(
        self, data: Mapping[int, str], timeout_s: float, *, replace: bool = False
    ) -> None:
        """Let the shard, admitted or not, take data for that of other shards."""
        request = to_accept_data(data, replace=replace)
        try:
            await self._cluster.AcceptData(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from None

    async def renew(self, timeout_s: float) -> None:
        """Go on with new certificates and a new key, if there are any and the shard takes them.

        Calls under way end on the old connection. While the shard does not answer on a new one,
        and does on the old one, the old one stays.

        Args:
            timeout_s: seconds for the shard to answer.
        """
        seat = self._channel
        if not isinstance(seat, AsyncSeat) or not seat.is_outdated:
            return
        successor = seat.successor()
        if self.is_admitted and not await self._is_there(successor, timeout_s):
            if not self._renewal_failed:
                _log.error("does not take the new credentials", shard=self.identity.name)
            self._renewal_failed = True
            await successor.close()
            return
        left, self._renewal_failed = seat.give_way(successor), False
        _log.info("renewed the connection", shard=self.identity.name)
        try:
            if self.is_admitted:
                await self._searches.replace()(_LAST_CALLS_S)
            await left.close(_LAST_CALLS_S)
        finally:
            await left.close()

    async def _is_there(self, seat: AsyncSeat, timeout_s: float) -> bool:
        """Tell whether what answers on a connection is this shard."""
        stub = cluster_pb2_grpc.ClusterServiceStub(cast(grpc.aio.Channel, seat))
        try:
            call = stub.GetStatus(cluster.GetStatusRequest(), timeout=timeout_s)
            shards = from_cluster_status(await cast(Any, call)).shards
        except (grpc.aio.AioRpcError, InvalidRequest):
            return False
        return [shard.identity for shard in shards] == [self.identity]

    def _not_serving(self, state: ShardState, reason: FanlightError) -> ShardStatus:
        return ShardStatus(self.identity, self.address, state, reason)

    async def close(self) -> None:
        """End the stream and the channel; calls under way fail."""
        await self._searches.close()
        await self._channel.close()

    # --- searches and items ---------------------------------------------------------------

    def search(self, request: SearchRequest, timeout_s: float) -> Awaitable[Hits]:
        """Answer the queries of `request`."""
        if size_of(request) * request.width > _HITS_ON_LOOP:
            return self._search_much(request, timeout_s)
        return self._submit(request, timeout_s, partial(_hits, request=request))

    async def _search_much(self, request: SearchRequest, timeout_s: float) -> Hits:
        response = await self._submit(request, timeout_s, lambda response: response)
        return await asyncio.to_thread(_hits, response, request)

    def _submit(
        self, request: SearchRequest, timeout_s: float, decode: Decode[T]
    ) -> asyncio.Future[T]:
        try:
            self._check_admission()
            return self._searches.submit(self._encoder.encode(request), timeout_s, decode)
        except FanlightError as error:
            failed: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def explain(
        self, request: SearchRequest, id_: IdColumn, score: float | None, timeout_s: float
    ) -> Explanation:
        """Tell how an item, or a score, stands on this shard."""
        message = search.ExplainRequest(
            search=codec.to_search(request), id=codec.to_ids(id_), score=score
        )
        response = await self._call(self._unary_searches.Explain, message, timeout_s)
        return from_explanation(response)

    async def count(
        self, collection: str, timeout_s: float, filter: Filter | None = None
    ) -> tuple[int, Coverage]:
        """Count live items, or those that satisfy a filter."""
        wanted = None if filter is None else to_filter(filter)
        request = items.CountItemsRequest(collection=collection, filter=wanted)
        response = await self._call(self._items.CountItems, request, timeout_s)
        return response.count, from_coverage(response.coverage)

    async def facets(
        self, collection: str, field: str, filter: Filter | None, timeout_s: float
    ) -> tuple[Facets, Coverage]:
        """Count live items by all values of a field."""
        wanted = None if filter is None else to_filter(filter)
        request = items.FacetItemsRequest(collection=collection, field=field, filter=wanted)
        response = await self._call(self._items.FacetItems, request, timeout_s)
        with decoding():
            return from_facets(response)

    async def delete_matching(self, collection: str, filter: Filter, timeout_s: float) -> int:
        """Delete the items that satisfy a filter."""
        request = items.DeleteItemsRequest(collection=collection, filter=to_filter(filter))
        return (await self._call(self._items.DeleteItems, request, timeout_s)).deleted

    # --- items ----------------------------------------------------------------------------

    async def upsert(self, collection: str, batch: ItemBatch, timeout_s: float) -> UpsertResult:
        """Write items."""
        request = codec.to_upsert(collection, batch)
        response = await self._call(self._items.UpsertItems, request, timeout_s)
        superseded = np.array(response.superseded_rows, dtype=np.int64)
        return UpsertResult(response.written, from_row_errors(response.errors), superseded)

    async def delete(self, collection: str, ids: IdColumn, timeout_s: float) -> DeleteResult:
        """Delete items."""
        request = items.DeleteItemsRequest(collection=collection, ids=codec.to_ids(ids))
        response = await self._call(self._items.DeleteItems, request, timeout_s)
        return DeleteResult(response.deleted, from_row_errors(response.errors))

    async def get(
        self, collection: str, ids: IdColumn, columns: Columns, timeout_s: float
    ) -> Items:
        """Read items by id."""
        request = items.GetItemsRequest(
            collection=collection,
            ids=codec.to_ids(ids),
            with_vectors=columns.vectors,
            with_payloads=columns.payloads,
        )
        response = await self._call(self._items.GetItems, request, timeout_s)
        with decoding():
            return codec.from_items(response)

    async def scroll(
        self, collection: str, page_size: int, page_token: bytes, columns: Columns, timeout_s: float
    ) -> Page:
        """Read one page of all items."""
        request = items.ScrollItemsRequest(
            collection=collection,
            page_size=page_size,
            page_token=page_token,
            with_vectors=columns.vectors,
            with_payloads=columns.payloads,
        )
        response = await self._call(self._items.ScrollItems, request, timeout_s)
        with decoding():
            return Page(codec.from_items(response), response.next_page_token)

    async def export(self, request: ExportRequest, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """Read all items of this shard; gives messages as they came, which nobody here reads."""
        self._check_admission()
        call = self._export(to_export_request(request), timeout=timeout_s)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from None
        finally:
            call.cancel()

    # --- collections ----------------------------------------------------------------------

    async def create_collection(
        self, spec: CollectionSpec, version: int, timeout_s: float, *, restoring: bool = False
    ) -> CollectionInfo:
        """Create a collection of this version; one of a lower version is replaced."""
        request = collections.CreateCollectionRequest(
            spec=codec.to_spec(spec), version=version, restoring=restoring or None
        )
        response = await self._call(self._collections.CreateCollection, request, timeout_s)
        with decoding():
            return codec.from_info(response.collection)

    async def declare_fields(
        self, name: str, declaration: Declaration, timeout_s: float
    ) -> CollectionInfo:
        """Take a declaration for the fields of a collection; one of a lower version is replaced."""
        request = codec.to_declaration(name, declaration)
        response = await self._call(self._collections.UpdateCollection, request, timeout_s)
        with decoding():
            return codec.from_info(response.collection)

    async def finish_restore(self, name: str, timeout_s: float) -> CollectionInfo:
        """Let a restored collection be read."""
        request = collections.FinishRestoreRequest(name=name)
        response = await self._call(self._collections.FinishRestore, request, timeout_s)
        with decoding():
            return codec.from_info(response.collection)

    async def delete_collection(self, name: str, version: int, timeout_s: float) -> None:
        """Delete a collection, if there is one, and record the deletion's version."""
        request = collections.DeleteCollectionRequest(name=name, version=version)
        await self._call(self._collections.DeleteCollection, request, timeout_s)

    async def get_collection(self, name: str, timeout_s: float) -> tuple[CollectionInfo, Coverage]:
        """Describe this shard's part of a collection."""
        request = collections.GetCollectionRequest(name=name)
        response = await self._call(self._collections.GetCollection, request, timeout_s)
        with decoding():
            return codec.from_info(response.collection), from_coverage(response.coverage)

    async def list_collections(self, timeout_s: float) -> tuple[list[CollectionInfo], Coverage]:
        """Describe this shard's part of all collections."""
        request = collections.ListCollectionsRequest()
        response = await self._call(self._collections.ListCollections, request, timeout_s)
        with decoding():
            infos = [codec.from_info(info) for info in response.collections]
        return infos, from_coverage(response.coverage)

    # --- the wire -------------------------------------------------------------------------

    async def _call(
        self, method: _Method[RequestT, ResponseT], request: RequestT, timeout_s: float
    ) -> ResponseT:
        self._check_admission()
        try:
            return await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from None

    def _check_admission(self) -> None:
        if self._refusal is not None:
            raise copy(self._refusal)

    def _translated(self, error: grpc.aio.AioRpcError) -> FanlightError:
        if has_detail(error):
            reason = from_rpc_error(error)
            # The caller's own credentials were judged here; what is wrong is this router's.
            foreign = isinstance(reason, (Unauthenticated, PermissionDenied))
            return NotReady(_NOT_TRUSTED) if foreign else reason
        _log.debug("call failed", shard=self.identity.name, status=error.debug_error_string())
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            self._lose()
            return NotReady(_UNREACHABLE)
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return from_rpc_error(error)  # gRPC's own words on the size of a message
        return type(from_rpc_error(error))(error.code().name.lower().replace("_", " "))

    def _on_break(self, error: grpc.aio.AioRpcError | None) -> FanlightError:
        """Take the end of the stream as the loss of the connection, which it mostly is."""
        self._lose()
        reason = (
            "the stream of searches ended" if error is None else self._translated(error).message
        )
        _log.info("stream ended", shard=self.identity.name, why=reason)
        return NotReady(reason)

    def _lose(self) -> None:
        if self._refusal is None:
            self._refusal = NotReady(_UNREACHABLE)
        self.lost.set()


def _hits(response: search.SearchResponse, request: SearchRequest) -> Hits:
    with decoding():
        hits = codec.from_hits(response, request.width)
        if len(hits.counts) != size_of(request):
            raise InternalError("gave answers to other queries than were asked")
        return hits
