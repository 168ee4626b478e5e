"""Whether the shards of a map know each other by the data that they stand on.

Laws: a shard is introduced to the others before it is admitted, so that another one in its place is
noticed by whoever asks one of them, and be it another router. What shards know outlives routers;
what this router remembers of admitted shards serves where no other shard can tell. See ADR 22.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from fanlight.cluster import ShardState, ShardStatus
from fanlight.errors import FanlightError, NotReady, WrongShard
from fanlight.placement import ShardIdentity, shard_name
from fanlight.provenance import check_data, check_known, contradicting, is_vouched_for, shown
from fanlight_router.deadline import Deadline
from fanlight_router.gather import demand_all, gather

# Shards to either side, by index, that remember one: so many that some of them are there, and so few
# that the status of a shard stays small where there are a thousand.
_REACH = 8

_log = structlog.get_logger("fanlight.router")


class AcquaintedShard(Protocol):
    """What is asked of a shard; see `fanlight_router.remote.RemoteShard`."""

    identity: ShardIdentity

    async def accept_data(
        self, data: Mapping[int, str], timeout_s: float, *, replace: bool = False
    ) -> None:
        """Take data for that of other shards, admitted or not."""
        ...


class Acquaintance:
    """What the shards of a map, and this router, know of each other. For one event loop."""

    def __init__(self, shards: Sequence[AcquaintedShard], timeout_s: float) -> None:
        """Take the shards; `timeout_s` is for what one of them is told."""
        self._shards = tuple(shards)
        self._timeout_s = timeout_s
        self._admitted: list[ShardStatus | None] = [None] * len(shards)

    def note(self, index: int, status: ShardStatus) -> None:
        """Remember what a shard that was admitted stands on and holds."""
        self._admitted[index] = status

    def last(self, index: int) -> ShardStatus | None:
        """Give the status by which a shard was admitted last."""
        return self._admitted[index]

    def doubt(self, index: int, seen: Sequence[ShardStatus]) -> FanlightError | None:
        """Tell why a shard that answers is not to be admitted: its data is not what is known.

        Args:
            index: of the shard.
            seen: the shards of the map as last seen, this one now.
        """
        status, last = seen[index], self._admitted[index]
        if witnesses := contradicting(index, seen):
            names = " and ".join(shard_name(at) for at in witnesses)
            return _other_data(status, names, seen[witnesses[0]].peers[index])
        if last is None:
            return None
        if last.data_id == status.data_id:
            return _less_than(status, last)
        if is_vouched_for(index, seen):
            return None
        return _other_data(status, "this router", last.data_id)

    async def introduce(self, index: int, seen: Sequence[ShardStatus]) -> FanlightError | None:
        """Let a shard and the others remember each other's data; give the error of who knows another.

        Args:
            index: of the shard.
            seen: the shards of the map as last seen, this one now.
        """
        own = seen[index]
        near = _neighbours(index, len(seen))
        others = {at: seen[at] for at in near if _can_remember(seen[at])}
        strangers = [at for at, other in others.items() if own.data_id and index not in other.peers]
        for at in strangers:
            if error := await self._tell(at, {index: own.data_id}):
                return error
        unknown = {at: other.data_id for at, other in others.items() if at not in own.peers}
        return await self._tell(index, unknown) if unknown and _can_remember(own) else None

    async def _tell(self, index: int, data: Mapping[int, str]) -> FanlightError | None:
        name = shard_name(index)
        try:
            await self._shards[index].accept_data(data, self._timeout_s)
        except WrongShard as error:
            # Another router was faster, with another map.
            return WrongShard(f"{name} knows other data: {error.message}")
        except FanlightError as error:
            # It is tried again at the next look.
            _log.warning("cannot introduce", shard=name, why=error.message)
        return None

    async def accept(
        self,
        data: Mapping[int, str],
        seen: Sequence[ShardStatus],
        deadline: Deadline,
        *,
        replace: bool,
    ) -> dict[int, dict[int, str]]:
        """Let the shards concerned take data for that of the shards that stand on it.

        Args:
            data: ids of data by index of their shards.
            seen: the shards of the map as they are.
            deadline: for all of them.
            replace: give up other data that was known of these shards.

        Returns:
            What each shard was told: ids of data by index of their shards.

        Raises:
            InvalidRequest: a shard or an id of data cannot be.
            NotReady: a shard is missing; the call may be repeated.
            Overloaded: a shard's disk is full; likewise.
            WrongShard: a shard stands on other data than that, or is known by other.
        """
        check_data(data, len(self._shards))
        told = _told(data, seen)
        for at in told:
            if not seen[at].state.answers and not _is_doubted(seen[at]):
                reason = seen[at].error or seen[at].state
                raise NotReady(f"accepting data needs {shard_name(at)}, which is missing: {reason}")
        check_known(data, {at: status.data_id for at, status in enumerate(seen)})
        left_s = deadline.left_s()
        calls = {
            at: self._shards[at].accept_data(news, left_s, replace=replace)
            for at, news in told.items()
        }
        demand_all(await gather(calls, left_s))
        for at in data:
            self._admitted[at] = None
        return told


def _neighbours(index: int, count: int) -> list[int]:
    """List the shards that remember a shard, and that it remembers."""
    near = {(index + step) % count for step in range(-_REACH, _REACH + 1)}
    return sorted(near - {index})


def _told(data: Mapping[int, str], seen: Sequence[ShardStatus]) -> dict[int, dict[int, str]]:
    """Tell who has to learn what for data to be accepted: others of it, and it of the others."""
    told: dict[int, dict[int, str]] = {}
    for index, data_id in data.items():
        near = _neighbours(index, len(seen))
        for at in near:
            told.setdefault(at, {})[index] = data_id
        known = {at: seen[at].data_id for at in near if at in data or seen[at].state.answers}
        told.setdefault(index, {}).update({index: data_id, **known})
    return told


def _can_remember(status: ShardStatus) -> bool:
    return status.state is ShardState.SERVING and bool(status.data_id)


def _is_doubted(status: ShardStatus) -> bool:
    """Tell whether a shard is the one of the map, but for its data."""
    return status.state is ShardState.MISMATCHED and bool(status.data_id)


def _other_data(status: ShardStatus, witnesses: str, known: str) -> WrongShard:
    name = status.identity.name
    return WrongShard(
        f"{name} stands on data {shown(status.data_id)}, but {witnesses} met it with {shown(known)}: "
        f"start it over its own data, or take what is there with `fanlight accept {name}`"
    )


def _less_than(status: ShardStatus, last: ShardStatus) -> WrongShard | None:
    """Refuse a shard that came back without a collection that it had: an older copy of its data.

    To bring it up would hide that. Who restarts the router has seen it.
    """
    held = {info.spec.name: info.version for info in status.collections}
    lost = [
        f"{info.spec.name!r} (version {info.version}, {info.items} items)"
        for info in last.collections
        if not info.deleted and held.get(info.spec.name, 0) < info.version
    ]
    if not lost:
        return None
    return WrongShard(
        f"{status.identity.name} no longer has {', '.join(lost)}, which it had when it was last seen: "
        "it runs over an older copy of its data; give it the newest, or restart the routers"
    )
