"""The program `fanlight-server`: one shard, from its arguments to its drain."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from functools import partial

import grpc
from threadpoolctl import threadpool_limits

from fanlight.v1 import collections_pb2, items_pb2, sets_pb2
from fanlight.v1.cluster_pb2_grpc import add_ClusterServiceServicer_to_server
from fanlight.v1.collections_pb2_grpc import add_CollectionServiceServicer_to_server
from fanlight.v1.items_pb2_grpc import add_ItemServiceServicer_to_server
from fanlight.v1.search_pb2_grpc import add_SearchServiceServicer_to_server
from fanlight.v1.sets_pb2_grpc import add_SetServiceServicer_to_server
from fanlight.wire.answers import AnswerRoom
from fanlight.wire.program import Withdraw, run
from fanlight_server.catalog import Catalog
from fanlight_server.config import ServerConfig
from fanlight_server.executor import SearchExecutor
from fanlight_server.priority import give_way_to_messages
from fanlight_server.service import (
    ClusterServicer,
    CollectionServicer,
    ItemServicer,
    SearchServicer,
)
from fanlight_server.set_service import SetServicer
from fanlight_server.storage.disk import Disk
from fanlight_server.workers import Workers

# Reads and writes wait for the disk, not for a core.
WORKER_THREADS = 16
# What no longer works, at least in part, once the disk has failed.
_WRITING = tuple(
    service.full_name
    for module in (items_pb2, collections_pb2, sets_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
)


class ShardServer:
    """A shard between its configuration and its servicers; used from one event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._address = ""
        self._catalog: asyncio.Future[Catalog] = asyncio.get_running_loop().create_future()
        self._workers = Workers(WORKER_THREADS)
        threads = config.search.worker_threads
        self._executor = SearchExecutor(
            lambda name: self._catalog.result().get(name),
            threads,
            config.limits,
            partial(give_way_to_messages, threads - 1),
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Add the servicers."""
        catalog, workers = self._catalog.result, self._workers
        answers = AnswerRoom(self._config.limits)
        add_CollectionServiceServicer_to_server(CollectionServicer(catalog, workers), server)
        add_ItemServiceServicer_to_server(ItemServicer(catalog, workers, answers), server)
        add_SearchServiceServicer_to_server(
            SearchServicer(self._executor, answers, catalog), server
        )
        add_SetServiceServicer_to_server(SetServicer(catalog, workers), server)
        add_ClusterServiceServicer_to_server(
            ClusterServicer(catalog, workers, lambda: self._address), server
        )

    async def open(self, address: str, withdraw: Withdraw) -> None:
        """Load the catalog."""
        config, self._address = self._config, address
        disk, loop = Disk(config.data, config.storage), asyncio.get_running_loop()
        disk.on_failure(lambda: asyncio.run_coroutine_threadsafe(withdraw(_WRITING), loop))
        catalog = await asyncio.to_thread(
            Catalog,
            config.data,
            config.identity,
            config.limits,
            config.index,
            config.search,
            disk=disk,
        )
        self._catalog.set_result(catalog)

    async def close(self) -> None:
        """Finish what runs in threads, and close the catalog."""
        await asyncio.to_thread(self._executor.close)
        await asyncio.to_thread(self._workers.close)
        if self._catalog.done():
            await asyncio.to_thread(self._catalog.result().close)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a shard server; see --help."""
    description = "Serve one shard of a Fanlight cluster."
    # The executor's threads are the only parallelism of searches. BLAS threads of their own made
    # the median single search under ingest 4 times slower (3 shards on 2 cores).
    threadpool_limits(limits=1, user_api="blas")
    return run("fanlight-server", description, ServerConfig, ShardServer, argv)


if __name__ == "__main__":
    sys.exit(main())
