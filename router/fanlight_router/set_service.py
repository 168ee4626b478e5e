"""The servicer of sets: decode, call, encode. The members of each set on all shards."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc

from fanlight.v1 import sets_pb2 as pb
from fanlight.v1 import sets_pb2_grpc
from fanlight.wire import codec
from fanlight_router.service import Deadlines
from fanlight_router.sets import PlacedSets

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class SetServicer(sets_pb2_grpc.SetServiceServicer):
    """The sets that searches exclude by name, over all shards."""

    def __init__(self, sets: PlacedSets, deadlines: Deadlines) -> None:
        self._sets = sets
        self._deadlines = deadlines

    async def AppendToSet(
        self, request: pb.AppendToSetRequest, context: _Context
    ) -> pb.AppendToSetResponse:
        """Add ids."""
        members = await self._sets.append(
            request.collection,
            request.name,
            codec.from_ids(request.ids, "ids"),
            request.ttl_s if request.HasField("ttl_s") else None,
            self._deadlines.of_write(context),
        )
        return pb.AppendToSetResponse(members=members)

    async def RemoveFromSet(
        self, request: pb.RemoveFromSetRequest, context: _Context
    ) -> pb.RemoveFromSetResponse:
        """Take ids out."""
        members = await self._sets.remove(
            request.collection,
            request.name,
            codec.from_ids(request.ids, "ids"),
            self._deadlines.of_write(context),
        )
        return pb.RemoveFromSetResponse(members=members)

    async def ExpireSet(
        self, request: pb.ExpireSetRequest, context: _Context
    ) -> pb.ExpireSetResponse:
        """Give all members of now a time to live."""
        deadline = self._deadlines.of_write(context)
        members = await self._sets.expire(request.collection, request.name, request.ttl_s, deadline)
        return pb.ExpireSetResponse(members=members)

    async def GetSet(self, request: pb.GetSetRequest, context: _Context) -> pb.GetSetResponse:
        """Read the members."""
        deadline = self._deadlines.of_read(context)
        if request.without_ids:
            count = await self._sets.count(request.collection, request.name, deadline)
            return pb.GetSetResponse(members=count)
        ids = await self._sets.members(request.collection, request.name, deadline)
        return pb.GetSetResponse(members=len(ids), ids=codec.to_ids(ids))

    async def DeleteSet(
        self, request: pb.DeleteSetRequest, context: _Context
    ) -> pb.DeleteSetResponse:
        """Take all members out."""
        deadline = self._deadlines.of_write(context)
        await self._sets.delete(request.collection, request.name, deadline)
        return pb.DeleteSetResponse()
