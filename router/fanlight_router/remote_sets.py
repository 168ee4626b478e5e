"""The sets of a shard behind a channel; see `fanlight_router.remote`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fanlight.model import IdColumn
from fanlight.v1 import sets_pb2 as sets
from fanlight.v1 import sets_pb2_grpc
from fanlight.wire import codec
from fanlight_router.decoding import decoding


class RemoteSets:
    """What a shard behind a channel offers of sets."""

    _sets: sets_pb2_grpc.SetServiceAsyncStub
    _call: Callable[..., Awaitable[Any]]

    async def append_to_set(
        self, collection: str, name: str, ids: IdColumn, ttl_s: float | None, timeout_s: float
    ) -> int:
        """Add ids to a set."""
        request = sets.AppendToSetRequest(
            collection=collection, name=name, ids=codec.to_ids(ids), ttl_s=ttl_s
        )
        return int((await self._call(self._sets.AppendToSet, request, timeout_s)).members)

    async def remove_from_set(
        self, collection: str, name: str, ids: IdColumn, timeout_s: float
    ) -> int:
        """Take ids out of a set."""
        request = sets.RemoveFromSetRequest(collection=collection, name=name, ids=codec.to_ids(ids))
        return int((await self._call(self._sets.RemoveFromSet, request, timeout_s)).members)

    async def expire_set(self, collection: str, name: str, ttl_s: float, timeout_s: float) -> int:
        """Give all members of a set a time to live."""
        request = sets.ExpireSetRequest(collection=collection, name=name, ttl_s=ttl_s)
        return int((await self._call(self._sets.ExpireSet, request, timeout_s)).members)

    async def delete_set(self, collection: str, name: str, timeout_s: float) -> int:
        """Take all members out of a set."""
        request = sets.DeleteSetRequest(collection=collection, name=name)
        await self._call(self._sets.DeleteSet, request, timeout_s)
        return 0

    async def count_set(self, collection: str, name: str, timeout_s: float) -> int:
        """Count the members of a set."""
        request = sets.GetSetRequest(collection=collection, name=name, without_ids=True)
        return int((await self._call(self._sets.GetSet, request, timeout_s)).members)

    async def set_members(self, collection: str, name: str, timeout_s: float) -> IdColumn:
        """List the members of a set."""
        request = sets.GetSetRequest(collection=collection, name=name)
        response = await self._call(self._sets.GetSet, request, timeout_s)
        with decoding():
            return codec.from_ids(response.ids, "ids")
