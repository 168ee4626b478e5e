"""Malformed requests for every method of the contract, over a raw channel.

Each trial takes a valid request, damages its bytes, and sends it to a router or to a shard. It must
be answered with a code that tells the caller something: never UNKNOWN, never INTERNAL, never
silence; and the programs must live on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from tests.faults.outcome import Outcome
from tests.faults.under_load import COLLECTION, crashes, loaded_cluster

import fanlight
from fanlight.declarations import Declaration
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, ItemBatch, SearchRequest
from fanlight.v1 import cluster_pb2, collections_pb2, items_pb2, search_pb2
from fanlight.wire import codec

DIM = 8
_AT_ONCE = 32
_TIMEOUT_S = 30.0
_BAD = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED)


def _search() -> search_pb2.SearchRequest:
    vectors = np.ones((2, DIM), dtype=np.float32)
    return codec.to_search(SearchRequest(COLLECTION, vectors, 3, ef_search=16))


def _by_id() -> search_pb2.SearchRequest:
    return codec.to_search(SearchRequest(COLLECTION, None, 3, ids=np.arange(2)))


def _upsert() -> items_pb2.UpsertItemsRequest:
    payloads = [b'{"a": 1}', b""]
    batch = ItemBatch(np.arange(2), np.ones((2, DIM), dtype=np.float32), payloads)
    return codec.to_upsert(COLLECTION, batch)


def _stream() -> search_pb2.SearchStreamRequest:
    tagged = search_pb2.TaggedSearch(tag=1, search=_search(), timeout_ms=9_000)
    return search_pb2.SearchStreamRequest(searches=[tagged], cancelled=[7])


# A valid request of every method; the test fails when one has none.
SEEDS: dict[str, list[Callable[[], Message]]] = {
    "CollectionService/CreateCollection": [
        lambda: collections_pb2.CreateCollectionRequest(
            spec=codec.to_spec(CollectionSpec("made", DIM)), version=3
        )
    ],
    "CollectionService/GetCollection": [
        lambda: collections_pb2.GetCollectionRequest(name=COLLECTION, min_coverage=0.5)
    ],
    "CollectionService/ListCollections": [
        lambda: collections_pb2.ListCollectionsRequest(min_coverage=0.5)
    ],
    "CollectionService/DeleteCollection": [
        lambda: collections_pb2.DeleteCollectionRequest(name="made", version=4)
    ],
    "CollectionService/UpdateCollection": [
        lambda: codec.to_update("made", {"n": FieldType.INT}, ["m"]),
        lambda: codec.to_declaration("made", Declaration({"n": FieldType.INT}, 3, 2)),
    ],
    "CollectionService/FinishRestore": [lambda: collections_pb2.FinishRestoreRequest(name="made")],
    "ItemService/UpsertItems": [_upsert],
    "ItemService/DeleteItems": [
        lambda: items_pb2.DeleteItemsRequest(
            collection=COLLECTION, ids=codec.to_ids(np.arange(900, 905))
        )
    ],
    "ItemService/GetItems": [
        lambda: items_pb2.GetItemsRequest(
            collection=COLLECTION, ids=codec.to_ids(np.arange(5)), with_vectors=True
        )
    ],
    "ItemService/ScrollItems": [
        lambda: items_pb2.ScrollItemsRequest(collection=COLLECTION, page_size=5, page_token=b"")
    ],
    "ItemService/CountItems": [
        lambda: items_pb2.CountItemsRequest(collection=COLLECTION, min_coverage=1.0)
    ],
    "ItemService/ExportItems": [
        lambda: items_pb2.ExportItemsRequest(
            collection=COLLECTION, shards=[0], after=codec.to_ids(np.arange(1)), batch_rows=3
        )
    ],
    "SearchService/Search": [_search, _by_id],
    "SearchService/SearchStream": [_stream],
    "ClusterService/GetStatus": [cluster_pb2.GetStatusRequest],
}


def methods() -> set[str]:
    """Name every method of the contract."""
    modules = (cluster_pb2, collections_pb2, items_pb2, search_pb2)
    return {
        f"{service.name}/{method.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def mutated(blob: bytes, dice: random.Random) -> bytes:
    """Damage a message: bits, bytes, cuts, repetitions, lengths."""
    data = bytearray(blob)
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = dice.randbytes(dice.randrange(1, 16))
        elif kind == 4:
            del data[at : at + dice.randrange(1, 8)]
        elif kind == 5:
            data += data[at:]
        else:  # a varint as large as there are
            data[at:at] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    return bytes(data)


@dataclass
class Sender:
    """Sends mutated requests and counts what comes back.

    Attributes:
        codes: answers by code; those of stream searches count by their own code.
        bad: what must not have come, by method and code.
        examples: of those: method, code, words, request.
    """

    dice: random.Random
    codes: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    async def send(self, channel: grpc.aio.Channel, method: str) -> None:
        """Send one request of a method."""
        blob = mutated(self.dice.choice(SEEDS[method])().SerializeToString(), self.dice)
        path = f"/fanlight.v1.{method}"
        try:
            if method.endswith("Stream"):
                await self._send_stream(channel, path, blob)
            elif method.endswith("ExportItems"):
                export: Any = channel.unary_stream(path)
                async for _ in export(blob, timeout=_TIMEOUT_S):
                    pass
            else:
                ask: Any = channel.unary_unary(path)
                await ask(blob, timeout=_TIMEOUT_S)
            self.codes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            self._note(method, error.code(), error.details() or "", blob)

    async def _send_stream(self, channel: grpc.aio.Channel, path: str, blob: bytes) -> None:
        ask: Any = channel.stream_stream(path)
        async for message in ask(iter([blob]), timeout=_TIMEOUT_S):
            for answer in search_pb2.SearchStreamResponse.FromString(message).answers:
                if answer.WhichOneof("outcome") == "error":
                    code = next(c for c in grpc.StatusCode if c.value[0] == answer.error.code)
                    self._note(path, code, answer.error.message, blob)

    def _note(self, method: str, code: grpc.StatusCode, words: str, blob: bytes) -> None:
        self.codes[code.name] += 1
        if code in _BAD:
            self.bad[f"{method} {code.name}"] += 1
            self.examples.append(f"{method} {code.name} {words!r} {blob.hex()}")


async def _mutate(addresses: list[str], requests: int, until: float, sender: Sender) -> int:
    """Send requests, in parallel, until there were so many or the time is over; tell how many."""
    sent, names = 0, sorted(SEEDS)
    channels = [grpc.aio.insecure_channel(address) for address in addresses]

    async def work() -> None:
        nonlocal sent
        while sent < requests and time.monotonic() < until:
            number, sent = sent, sent + 1
            channel = channels[number // len(names) % len(channels)]
            await sender.send(channel, names[number % len(names)])

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    for channel in channels:
        await channel.close()
    return sent


async def unguarded(requests: int, seed: int) -> Counter[str]:
    """Send the same to a server that leaves malformed messages to gRPC: the positive control."""

    async def answer(request: Message, context: Any) -> Message:
        return items_pb2.CountItemsResponse()

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=search_pb2.SearchRequest.FromString,
        response_serializer=items_pb2.CountItemsResponse.SerializeToString,
    )
    name = "fanlight.v1.SearchService"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(name, {"Search": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sender = Sender(random.Random(seed))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(requests):
            await sender.send(channel, "SearchService/Search")
    await server.stop(0)
    return sender.bad


def run(seconds: float, seed: int, requests: int = 1_000_000) -> Outcome:
    """Send malformed requests to a router and its shards for so long, or so many."""
    sender = Sender(random.Random(seed))
    with loaded_cluster(500, DIM, seed) as cluster:
        addresses = [process.address for process in cluster.processes]
        until = time.monotonic() + seconds
        sent = asyncio.run(_mutate([*addresses, cluster.address], requests, until, sender))
        died = crashes(cluster)
        with fanlight.Client(cluster.address) as client:
            alive = client.collection(COLLECTION).count()
    control = asyncio.run(unguarded(300, seed))
    return Outcome(
        "malformed requests",
        trials=sent,
        acknowledged=sender.codes["OK"],
        wrong=sum(sender.bad.values()),
        crashes=died,
        control=f"a server without our guard answered {dict(control)} of 300 requests",
        notes=f"codes {dict(sender.codes)}; {alive} items after it; {sender.examples[:3]}",
    )
