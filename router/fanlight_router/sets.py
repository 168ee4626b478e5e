"""The sets of all shards: each shard holds the members whose items it would hold.

Laws: a change is whole or an error; since it may be repeated, that is what a caller does. Counts
and members are those of all shards.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fanlight.ids import ascending, joined
from fanlight.limits import Limits
from fanlight.model import IdColumn
from fanlight.placement import shards_of
from fanlight.query_rules import check_set_name, check_ttl
from fanlight.validation import bad_id_rows, check_batch
from fanlight_router.deadline import Deadline
from fanlight_router.gather import demand_all, gather
from fanlight_router.shards import SetShard


class PlacedSets:
    """See the module. For one event loop. Every method raises what the shards say, named."""

    def __init__(self, shards: Sequence[SetShard], limits: Limits) -> None:
        self._shards = tuple(shards)
        self._limits = limits

    async def append(
        self,
        collection: str,
        name: str,
        ids: IdColumn,
        ttl_s: float | None,
        deadline: Deadline,
    ) -> int:
        """Add ids, for so many seconds or for ever; tell how many members there are."""
        check_ttl(ttl_s)
        return await self._change(
            collection,
            name,
            ids,
            lambda shard, own, left_s: shard.append_to_set(collection, name, own, ttl_s, left_s),
            deadline,
        )

    async def remove(self, collection: str, name: str, ids: IdColumn, deadline: Deadline) -> int:
        """Take ids out; tell how many members there are."""
        return await self._change(
            collection,
            name,
            ids,
            lambda shard, own, left_s: shard.remove_from_set(collection, name, own, left_s),
            deadline,
        )

    async def expire(self, collection: str, name: str, ttl_s: float, deadline: Deadline) -> int:
        """Give all members a time to live; tell how many there are."""
        check_set_name(name)
        check_ttl(ttl_s)
        left_s = deadline.left_s()
        return await self._sum(
            [shard.expire_set(collection, name, ttl_s, left_s) for shard in self._shards], left_s
        )

    async def delete(self, collection: str, name: str, deadline: Deadline) -> None:
        """Take all members out."""
        check_set_name(name)
        left_s = deadline.left_s()
        await self._sum([s.delete_set(collection, name, left_s) for s in self._shards], left_s)

    async def count(self, collection: str, name: str, deadline: Deadline) -> int:
        """Count the members."""
        check_set_name(name)
        left_s = deadline.left_s()
        return await self._sum(
            [s.count_set(collection, name, left_s) for s in self._shards], left_s
        )

    async def members(self, collection: str, name: str, deadline: Deadline) -> IdColumn:
        """List the members, ascending."""
        check_set_name(name)
        left_s = deadline.left_s()
        calls = {i: s.set_members(collection, name, left_s) for i, s in enumerate(self._shards)}
        gathered = await gather(calls, left_s)
        demand_all(gathered)
        # no id is on two shards
        return ascending(joined(list(gathered.answers.values())))

    async def _change(
        self,
        collection: str,
        name: str,
        ids: IdColumn,
        change: Callable[[SetShard, IdColumn, float], Awaitable[int]],
        deadline: Deadline,
    ) -> int:
        """Change the shards that own the ids, and count on the others."""
        check_set_name(name)
        check_batch(ids, self._limits)
        for error in bad_id_rows(ids, self._limits).values():
            raise error
        left_s = deadline.left_s()
        owners = shards_of(ids, len(self._shards))
        calls: list[Awaitable[int]] = []
        for index, shard in enumerate(self._shards):
            own = ids[owners == index]
            if len(own):
                calls.append(change(shard, own, left_s))
            else:
                calls.append(shard.count_set(collection, name, left_s))
        return await self._sum(calls, left_s)

    async def _sum(self, calls: Sequence[Awaitable[int]], left_s: float) -> int:
        gathered = await gather(dict(enumerate(calls)), left_s)
        demand_all(gathered)
        return sum(gathered.answers.values())
