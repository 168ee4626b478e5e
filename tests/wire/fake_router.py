"""A router in memory: it really stores rows and searches them, and fails when told to."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from operator import methodcaller
from typing import Any

import grpc
import numpy as np
from google.protobuf.descriptor_pool import Default
from google.protobuf.message_factory import GetMessageClass

import fanlight
from fanlight.cluster import ClusterStatus, ShardState, ShardStatus
from fanlight.errors import FanlightError
from fanlight.hits import attach, real_ids
from fanlight.ids import empty, to_column
from fanlight.limits import Limits
from fanlight.model import CollectionInfo, CollectionSpec, Coverage, Hits, IdColumn, Items
from fanlight.placement import ShardIdentity
from fanlight.topk import order_best_first
from fanlight.v1 import collections_pb2, items_pb2, search_pb2
from fanlight.validation import bad_item_rows, bad_vector_rows, check_items, check_search
from fanlight.wire import codec
from fanlight.wire.cluster_codec import to_cluster_status
from fanlight.wire.connections import server_options
from fanlight.wire.status import ERROR_KEY, status_of, to_coverage, to_error, to_row_errors

LIMITS = Limits()
COVERAGE = Coverage(shards_total=1, shards_answered=1, items_total=5, items_covered=5)


@dataclass
class Stored:
    """A collection in memory: its items by id, in order of writing."""

    spec: CollectionSpec
    items: dict[Any, tuple[Any, bytes]] = field(default_factory=dict)

    @property
    def info(self) -> CollectionInfo:
        return CollectionInfo(self.spec, version=1, items=len(self.items))

    def column(self, ids: list[Any]) -> IdColumn:
        return to_column(ids) if ids else empty(self.spec.id_type)

    def columns(self, ids: list[Any], missing: list[Any], vectors: bool, payloads: bool) -> Items:
        matrix = np.array([self.items[i][0] for i in ids], dtype=np.float32)
        return Items(
            ids=self.column(ids),
            vectors=matrix.reshape(len(ids), self.spec.dim) if vectors else None,
            payload_blobs=[self.items[i][1] for i in ids] if payloads else None,
            missing=self.column(missing),
        )


def brute_force(queries: Any, stored: Stored, k: int, own: IdColumn | None = None) -> Hits:
    """Score every item by dot product; a query's own item does not count."""
    known = stored.column(list(stored.items))
    matrix = np.array([vector for vector, _ in stored.items.values()], dtype=np.float32)
    scores = np.asarray(queries, dtype=np.float32) @ matrix.T
    if own is not None:
        scores = np.where(own[:, None] == known[None, :], np.float32(np.nan), scores)
    ids: Any = np.broadcast_to(known, scores.shape)
    order = order_best_first(ids, scores)[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    counts = np.count_nonzero(~np.isnan(best), axis=1).astype(np.int64)
    return Hits(known[order], best, counts, COVERAGE)


class FakeRouter(grpc.GenericRpcHandler):
    """Stores and searches in memory, fails when told to, and remembers what was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.collections: dict[str, Stored] = {}
        # By method: errors to fail with, one a call.
        self.failures: dict[str, deque[FanlightError]] = defaultdict(deque)
        # Rows to refuse, by id, one dict an upsert.
        self.row_failures: deque[dict[Any, FanlightError]] = deque()
        self.requests: dict[str, list[Any]] = defaultdict(list)
        # Whose connection each request came on.
        self.peers: list[str] = []
        self.before: Callable[[str], object] = lambda method: None
        self._lock = threading.Lock()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        _, service, name = handler_call_details.method.split("/")
        method = Default().FindServiceByName(service).methods_by_name[name]
        if name == "SearchStream":
            return grpc.stream_stream_rpc_method_handler(
                self._stream,
                request_deserializer=GetMessageClass(method.input_type).FromString,
                response_serializer=methodcaller("SerializeToString"),
            )
        return grpc.unary_unary_rpc_method_handler(
            partial(self._ask, name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=methodcaller("SerializeToString"),
        )

    def _ask(self, name: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests[name].append(request)
        self.peers.append(context.peer())
        self.before(name)
        try:
            with self._lock:
                if self.failures[name]:
                    raise self.failures[name].popleft()
                return getattr(self, name)(request)
        except FanlightError as error:
            blob = to_error(error).SerializeToString()
            context.set_trailing_metadata(((ERROR_KEY, blob),))
            context.abort(status_of(error), error.message)

    def _stream(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answer the searches of a stream as if each were a call of its own."""
        for message in messages:
            for tagged in message.searches:
                self.requests["Search"].append(tagged.search)
                self.peers.append(context.peer())
                self.before("Search")
                yield search_pb2.SearchStreamResponse(answers=[self._tagged(tagged)])

    def _tagged(self, tagged: Any) -> Any:
        try:
            with self._lock:
                if self.failures["Search"]:
                    raise self.failures["Search"].popleft()
                return search_pb2.TaggedAnswer(tag=tagged.tag, response=self.Search(tagged.search))
        except FanlightError as error:
            return search_pb2.TaggedAnswer(tag=tagged.tag, error=to_error(error))

    def _stored(self, name: str) -> Stored:
        if name not in self.collections:
            raise fanlight.NotFound(f"no collection is named {name}", field="collection")
        return self.collections[name]

    def CreateCollection(self, request: Any) -> Any:
        spec = codec.from_spec(request.spec)
        stored = self.collections.setdefault(spec.name, Stored(spec))
        if stored.spec != spec:
            raise fanlight.AlreadyExists(f"{spec.name} exists with other parameters")
        return collections_pb2.CreateCollectionResponse(collection=codec.to_info(stored.info))

    def GetCollection(self, request: Any) -> Any:
        info = codec.to_info(self._stored(request.name).info)
        return collections_pb2.GetCollectionResponse(collection=info)

    def ListCollections(self, request: Any) -> Any:
        infos = [codec.to_info(self.collections[n].info) for n in sorted(self.collections)]
        return collections_pb2.ListCollectionsResponse(collections=infos)

    def DeleteCollection(self, request: Any) -> Any:
        self._stored(request.name)
        del self.collections[request.name]
        return collections_pb2.DeleteCollectionResponse()

    def UpsertItems(self, request: Any) -> Any:
        stored, batch = self._stored(request.collection), codec.from_upsert(request)
        check_items(batch, stored.spec, LIMITS)
        faults = {row.row: row for row in bad_item_rows(batch, stored.spec, LIMITS)}
        failing = self.row_failures.popleft() if self.row_failures else {}
        for row, value in enumerate(batch.ids.tolist()):
            if value in failing:
                faults[row] = fanlight.RowError(row, failing[value])
            if row not in faults:
                blob = batch.payload_blobs[row] if batch.payload_blobs else b""
                stored.items[value] = (batch.vectors[row], blob)
        return items_pb2.UpsertItemsResponse(
            written=len(batch.ids) - len(faults),
            errors=to_row_errors(tuple(faults[row] for row in sorted(faults))),
        )

    def DeleteItems(self, request: Any) -> Any:
        items = self._stored(request.collection).items
        gone = [items.pop(value, None) for value in codec.from_ids(request.ids, "ids").tolist()]
        return items_pb2.DeleteItemsResponse(deleted=sum(item is not None for item in gone))

    def GetItems(self, request: Any) -> Any:
        stored = self._stored(request.collection)
        asked = codec.from_ids(request.ids, "ids").tolist()
        found = [value for value in asked if value in stored.items]
        missing = [value for value in asked if value not in stored.items]
        items = stored.columns(found, missing, request.with_vectors, request.with_payloads)
        response = items_pb2.GetItemsResponse()
        codec.fill_items(response, items)
        return response

    def ScrollItems(self, request: Any) -> Any:
        stored, start = self._stored(request.collection), int(request.page_token or b"0")
        page = list(stored.items)[start : start + request.page_size]
        items = stored.columns(page, [], request.with_vectors, request.with_payloads)
        end = start + len(page)
        response = items_pb2.ScrollItemsResponse(
            next_page_token=b"" if end == len(stored.items) else str(end).encode()
        )
        codec.fill_items(response, items)
        return response

    def CountItems(self, request: Any) -> Any:
        items = self._stored(request.collection).items
        return items_pb2.CountItemsResponse(count=len(items), coverage=to_coverage(COVERAGE))

    def Search(self, message: Any) -> Any:
        request = codec.from_search(message)
        stored = self._stored(request.collection)
        vectors, own = request.vectors, None
        if request.ids is not None:
            own = request.ids
            vectors = np.array([stored.items[value][0] for value in own.tolist()])
        assert vectors is not None
        check_search(replace(request, vectors=vectors, ids=None), stored.spec, LIMITS)
        errors = bad_vector_rows("vectors", vectors, stored.spec.metric)
        vectors = np.where(np.isfinite(vectors), vectors, 0)
        hits = brute_force(vectors, stored, request.k, own)
        hits = replace(
            hits,
            counts=np.where(np.isin(range(len(vectors)), list(errors)), 0, hits.counts),
            errors=errors,
        )
        if request.with_payloads or request.with_vectors:
            found = stored.columns(
                real_ids(hits).tolist(), [], request.with_vectors, request.with_payloads
            )
            hits = attach(hits, found)
        return codec.to_hits(hits)

    def GetStatus(self, request: Any) -> Any:
        infos = tuple(stored.info for stored in self.collections.values())
        identity = ShardIdentity("local", 0, 2)
        shards = (
            ShardStatus(identity, "localhost:1", ShardState.SERVING, collections=infos),
            ShardStatus(
                replace(identity, index=1),
                "localhost:2",
                ShardState.UNREACHABLE,
                error=fanlight.NotReady("refused"),
            ),
        )
        return to_cluster_status(ClusterStatus("local", shards, "0.1.0"))


@contextmanager
def fake_routers() -> Iterator[Callable[[], FakeRouter]]:
    """Give a function that starts a router on loopback; all are stopped at the end."""
    servers: list[grpc.Server] = []

    def start() -> FakeRouter:
        router = FakeRouter()
        server = grpc.server(ThreadPoolExecutor(8), options=server_options(Limits()))
        server.add_generic_rpc_handlers((router,))
        router.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        servers.append(server)
        return router

    yield start
    for server in servers:
        server.stop(grace=None).wait()
