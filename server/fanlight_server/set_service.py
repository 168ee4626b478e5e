"""The servicer of sets: decode, call, encode. This shard's members of each set."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

import grpc

from fanlight.v1 import sets_pb2 as pb
from fanlight.v1 import sets_pb2_grpc
from fanlight.wire import codec
from fanlight_server.core import SetsCore
from fanlight_server.service import CatalogGetter
from fanlight_server.workers import Workers

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SetServicer(sets_pb2_grpc.SetServiceServicer):
    """This shard's part of the sets that searches exclude by name."""

    def __init__(self, catalog: CatalogGetter, workers: Workers) -> None:
        self._catalog = catalog
        self._workers = workers

    async def _write(self, collection: str, change: Callable[[SetsCore], Future[int]]) -> int:
        return await self._workers.write(lambda: change(self._catalog().get(collection).sets))

    async def AppendToSet(
        self, request: pb.AppendToSetRequest, context: _Context
    ) -> pb.AppendToSetResponse:
        """Add ids."""
        ttl_s = request.ttl_s if request.HasField("ttl_s") else None
        members = await self._write(
            request.collection,
            lambda sets: sets.append(request.name, codec.from_ids(request.ids, "ids"), ttl_s),
        )
        return pb.AppendToSetResponse(members=members)

    async def RemoveFromSet(
        self, request: pb.RemoveFromSetRequest, context: _Context
    ) -> pb.RemoveFromSetResponse:
        """Take ids out."""
        members = await self._write(
            request.collection,
            lambda sets: sets.remove(request.name, codec.from_ids(request.ids, "ids")),
        )
        return pb.RemoveFromSetResponse(members=members)

    async def ExpireSet(
        self, request: pb.ExpireSetRequest, context: _Context
    ) -> pb.ExpireSetResponse:
        """Give all members of now a time to live."""
        members = await self._write(
            request.collection, lambda sets: sets.expire(request.name, request.ttl_s)
        )
        return pb.ExpireSetResponse(members=members)

    async def GetSet(self, request: pb.GetSetRequest, context: _Context) -> pb.GetSetResponse:
        """Read the members."""

        def work() -> pb.GetSetResponse:
            ids = self._catalog().get(request.collection).sets.members(request.name)
            column = None if request.without_ids else codec.to_ids(ids)
            return pb.GetSetResponse(members=len(ids), ids=column)

        return await self._workers.run(work)

    async def DeleteSet(
        self, request: pb.DeleteSetRequest, context: _Context
    ) -> pb.DeleteSetResponse:
        """Take all members out."""
        await self._write(request.collection, lambda sets: sets.delete(request.name))
        return pb.DeleteSetResponse()
