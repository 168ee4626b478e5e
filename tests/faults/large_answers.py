"""Many answers of millions of hits at once: what does not fit is refused, and memory is bounded."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import grpc
import numpy as np
from tests.faults.outcome import Outcome
from tests.faults.under_load import COLLECTION, crashes, loaded_cluster, resident_bytes

from fanlight.model import SearchRequest
from fanlight.wire import codec

ROWS = 4_000
DIM = 8
MIB = 1 << 20
BOUND = 64 * MIB
# Beside the answers: the kernel's own arrays, each shard's message, gRPC's copy of it.
_COPIES = 8
_PATH = "/fanlight.v1.SearchService/Search"


async def ask(address: str, k: int, queries: int, callers: int, each: int) -> Counter[str]:
    """Let so many callers ask so often for k hits of so many queries."""
    vectors = np.random.default_rng(1).standard_normal((queries, DIM), dtype=np.float32)
    message = codec.to_search(SearchRequest(COLLECTION, vectors, k)).SerializeToString()
    codes: Counter[str] = Counter()

    async def caller(channel: grpc.aio.Channel) -> None:
        for _ in range(each):
            try:
                search: Any = channel.unary_unary(_PATH)
                await search(message, timeout=60)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1

    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        await asyncio.gather(*(caller(channel) for _ in range(callers)))
    return codes


def trial(seed: int, bound: int, callers: int, each: int) -> tuple[Counter[str], int, int]:
    """Ask for 600,000 hits at once each; tell the codes, the memory gained, and the crashes."""
    limits = {"limits": {"bytes_in_flight": bound, "queue_s": 3_600.0}}
    with loaded_cluster(ROWS, DIM, seed, server=limits, router=limits) as cluster:
        asyncio.run(ask(cluster.address, 10, 10, 2, 5))
        before, peak, stop = resident_bytes(cluster), [0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.02):
                peak[0] = max(peak[0], resident_bytes(cluster))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            codes = asyncio.run(ask(cluster.address, 2_000, 300, callers, each))
        finally:
            stop.set()
            watcher.join()
        return codes, max(0, peak[0] - before), crashes(cluster)


def never_fits(seed: int) -> str:
    """Ask for one answer that is larger than the bound; give the refusal's words."""
    limits = {"limits": {"bytes_in_flight": MIB}}
    with loaded_cluster(100, DIM, seed, shards=1, router=limits) as cluster:
        vectors = np.ones((100, DIM), dtype=np.float32)
        message = codec.to_search(SearchRequest(COLLECTION, vectors, 1_000)).SerializeToString()
        with grpc.insecure_channel(cluster.address) as channel:
            try:
                search: Any = channel.unary_unary(_PATH)
                search(message, timeout=60)
            except grpc.RpcError as error:
                if isinstance(error, grpc.Call):
                    return f"{error.code().name}: {error.details()}"
                raise
    return "answered"


def run(seconds: float, seed: int) -> Outcome:
    """Let 32 callers ask for 600,000 hits at once each, with 64 MiB for all of them."""
    begun = time.monotonic()
    codes, gained, died = trial(seed, BOUND, callers=32, each=max(2, int(seconds / 15)))
    words = never_fits(seed)
    _, unbounded, _ = trial(seed, 1 << 40, callers=32, each=2)
    strange = sum(n for code, n in codes.items() if code not in ("OK", "RESOURCE_EXHAUSTED"))
    return Outcome(
        "answers of 600,000 hits",
        trials=sum(codes.values()) + 1,
        acknowledged=codes["OK"],
        wrong=strange
        + (gained > _COPIES * BOUND)
        + ("RESOURCE_EXHAUSTED" not in words or "bytes_in_flight" not in words),
        crashes=died,
        control=f"without the bound the same callers took {unbounded >> 20} MiB more",
        notes=(
            f"{dict(codes)}; the largest process grew by {gained >> 20} MiB with a bound of "
            f"{BOUND >> 20} MiB; one that never fits: {words}; "
            f"{time.monotonic() - begun:.0f} s"
        ),
    )
