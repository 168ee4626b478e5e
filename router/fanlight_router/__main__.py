"""The program `fanlight-router`: from its arguments to its drain."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import grpc

from fanlight.v1.cluster_pb2_grpc import add_ClusterServiceServicer_to_server
from fanlight.v1.collections_pb2_grpc import add_CollectionServiceServicer_to_server
from fanlight.v1.items_pb2_grpc import add_ItemServiceServicer_to_server
from fanlight.v1.search_pb2_grpc import add_SearchServiceServicer_to_server
from fanlight.v1.sets_pb2_grpc import add_SetServiceServicer_to_server
from fanlight.wire.answers import AnswerRoom
from fanlight.wire.program import VERSION, Withdraw, run
from fanlight.wire.stacker import Stacker
from fanlight_router.catalog import ClusterCatalog
from fanlight_router.config import RouterConfig
from fanlight_router.coverage import KnownItems
from fanlight_router.fanout import Fanout
from fanlight_router.freed_memory import keep_freed_memory
from fanlight_router.items import PlacedItems
from fanlight_router.remote import RemoteShard, SearchEncoder
from fanlight_router.renewal import Credentials
from fanlight_router.service import (
    ClusterServicer,
    CollectionServicer,
    Deadlines,
    ItemServicer,
    SearchServicer,
)
from fanlight_router.set_service import SetServicer
from fanlight_router.sets import PlacedSets
from fanlight_router.topology import ShardMap, Topology


class Router:
    """A router between its configuration and its servicers; used from one event loop."""

    def __init__(self, config: RouterConfig) -> None:
        self._limits = config.limits
        self._deadlines = Deadlines(config.timeouts)
        self._known = KnownItems()
        self._credentials = Credentials(config)
        self._shards = _shards(config, self._credentials)
        self._topology = Topology(
            config.cluster, self._shards, self._known, config.timeouts.probe_s, VERSION
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Add the servicers."""
        shards, known, limits, deadlines = self._shards, self._known, self._limits, self._deadlines
        answers = AnswerRoom(limits)
        placed = PlacedItems(shards, known, limits)
        fanout = Fanout(shards, placed, known, limits)
        catalog = ClusterCatalog(shards, self._topology, known, limits)
        stacker = Stacker(
            lambda search, timeout_s: fanout.search(search, deadlines.of_search(timeout_s)), limits
        )
        searches = SearchServicer(stacker, answers, fanout, deadlines)
        add_SearchServiceServicer_to_server(searches, server)
        sets = PlacedSets(shards, limits)
        add_SetServiceServicer_to_server(SetServicer(sets, deadlines), server)
        exporting = ItemServicer(placed, fanout, deadlines, answers, shards, limits.export_s)
        add_ItemServiceServicer_to_server(exporting, server)
        add_CollectionServiceServicer_to_server(CollectionServicer(catalog, deadlines), server)
        add_ClusterServiceServicer_to_server(ClusterServicer(self._topology, deadlines), server)

    async def open(self, address: str, withdraw: Withdraw) -> None:
        """Look at every shard once, whether it answers or not."""
        await self._topology.start()
        self._credentials.start(self._shards)

    async def close(self) -> None:
        """Stop watching and close the channels."""
        await self._topology.close()
        await self._credentials.close()
        await asyncio.gather(*(shard.close() for shard in self._shards))


def _shards(config: RouterConfig, credentials: Credentials) -> list[RemoteShard]:
    shard_map = ShardMap(config.cluster, config.shards)
    encoder = SearchEncoder()
    return [
        RemoteShard(
            identity,
            address,
            encoder,
            config.limits.message_bytes,
            target,
            credentials.for_target(target),
        )
        for identity, address, target in zip(
            shard_map.identities, shard_map.addresses, config.targets, strict=True
        )
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a router; see --help."""
    description = "Spread searches and writes over the shards of a Fanlight cluster."
    keep_freed_memory()
    return run("fanlight-router", description, RouterConfig, Router, argv)


if __name__ == "__main__":
    sys.exit(main())
