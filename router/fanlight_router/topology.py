"""The shard map, and what is known of the shards that it names.

Laws: the map is immutable; which shard should be where comes from it alone. A shard is admitted
when it has said that it is the one expected, and after each loss of its connection it has to say
so again. One that says otherwise, or stands on other data than is known, is refused, loudly. Of
each collection the highest version wins, and a shard that lags is brought up whenever it is looked
at. Nothing is kept that cannot be read back from the shards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from fanlight.cluster import ClusterStatus, ShardState, ShardStatus
from fanlight.declarations import Declaration, declaration_of
from fanlight.errors import FanlightError, NotReady, WrongShard
from fanlight.model import CollectionInfo, CollectionSpec
from fanlight.placement import ShardIdentity
from fanlight_router.acquaintance import Acquaintance, AcquaintedShard
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline

# A busy shard may take a while to tell its status, however often it is looked at.
_LOOK_S = 1.0
# After a loss a shard is looked at again at once, but no more often than this, whatever it does.
_AGAIN_S = 0.05
# What settles declarations of one version that differ: a new one gets a higher version.
_DECLARE = "declare its fields again"

_log = structlog.get_logger("fanlight.router")


@dataclass(frozen=True, slots=True)
class ShardMap:
    """Which shard is where.

    Attributes:
        cluster: name of the cluster.
        addresses: "host:port" of each shard, in order of index.
    """

    cluster: str
    addresses: tuple[str, ...]

    @property
    def identities(self) -> tuple[ShardIdentity, ...]:
        """Say what the shard at each address should be."""
        count = len(self.addresses)
        return tuple(ShardIdentity(self.cluster, index, count) for index in range(count))


class WatchedShard(AcquaintedShard, Protocol):
    """What the topology asks of a shard; see `fanlight_router.remote.RemoteShard`."""

    identity: ShardIdentity
    address: str
    lost: asyncio.Event

    @property
    def is_admitted(self) -> bool:
        """Tell whether calls are sent."""
        ...

    def admit(self) -> None:
        """Send calls from now on."""
        ...

    def refuse(self, reason: FanlightError) -> None:
        """Fail calls from now on."""
        ...

    async def status(self, timeout_s: float, *, wait: bool) -> ShardStatus:
        """Look at the shard; never raises a FanlightError."""
        ...

    async def create_collection(
        self, spec: CollectionSpec, version: int, timeout_s: float, *, restoring: bool = False
    ) -> CollectionInfo:
        """Create a collection of this version."""
        ...

    async def declare_fields(
        self, name: str, declaration: Declaration, timeout_s: float
    ) -> CollectionInfo:
        """Take a declaration for the fields of a collection."""
        ...

    async def delete_collection(self, name: str, version: int, timeout_s: float) -> None:
        """Delete a collection and record the deletion's version."""
        ...


class Topology:
    """Watches the shards of a map. For one event loop."""

    def __init__(
        self,
        cluster: str,
        shards: Sequence[WatchedShard],
        known: KnownItems,
        probe_s: float,
        version: str,
    ) -> None:
        """Take the shards; none is looked at before `start`.

        Args:
            cluster: name of the cluster.
            shards: those of the map, in order of index.
            known: is told the items of each shard at every look.
            probe_s: seconds between two looks.
            version: of this program, for its status.
        """
        self._cluster = cluster
        self._shards = tuple(shards)
        self._known = known
        self._probe_s = probe_s
        self._look_s = max(probe_s, _LOOK_S)
        self._version = version
        unseen = NotReady("was not looked at yet")
        self._statuses = [
            ShardStatus(shard.identity, shard.address, ShardState.UNREACHABLE, unseen)
            for shard in shards
        ]
        self._looking = [asyncio.Lock() for _ in shards]
        self._acquaintance = Acquaintance(self._shards, self._look_s)
        # One at a time: of two shards that come at once the second is introduced to the first.
        self._vetting = asyncio.Lock()
        self._watches: list[asyncio.Task[None]] = []

    @property
    def status(self) -> ClusterStatus:
        """Give the cluster as last seen; a shard that does not answer has what it last held."""
        return ClusterStatus(self._cluster, tuple(self._statuses), self._version)

    async def start(self) -> None:
        """Look at every shard once, whether it answers or not, and go on watching."""
        await self.refresh()
        if any(status.state is ShardState.MISMATCHED for status in self._statuses):
            await self.refresh()  # with all that is known by now of whom to believe
        self._watches = [asyncio.create_task(self._watch(i)) for i in range(len(self._shards))]

    async def refresh(self) -> None:
        """Look at every shard now, except those whose return the watch waits for already."""
        looks = (
            self._look(index, wait=False)
            for index, looking in enumerate(self._looking)
            if not (looking.locked() and self._is_gone(index))
        )
        await asyncio.gather(*looks)

    async def close(self) -> None:
        """Stop watching."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def accept_data(
        self, data: Mapping[int, str], deadline: Deadline, *, replace: bool
    ) -> None:
        """Let all shards take data for that of the shards that stand on it.

        Args:
            data: ids of data by index of their shards.
            deadline: for all shards.
            replace: give up other data that was known of these shards.

        Raises:
            InvalidRequest, NotReady, WrongShard: see `Acquaintance.accept`.
        """
        await self.refresh()
        async with self._vetting:
            accept = self._acquaintance.accept
            self._learn(await accept(data, self._statuses, deadline, replace=replace))
        await self.refresh()

    def newest(self, name: str) -> CollectionInfo | None:
        """Give the highest version of a collection that any shard is known to hold."""
        return _newest(self._statuses).get(name)

    def is_disputed(self, name: str) -> bool:
        """Tell whether shards hold declarations of the same version that differ."""
        best = self.newest(name)
        held = (i for s in self._statuses for i in s.collections if i.spec.name == name)
        return best is not None and any(
            _age(info) == _age(best) and _remedy(info, best) == _DECLARE for info in held
        )

    # --- watching -------------------------------------------------------------------------

    def _is_gone(self, index: int) -> bool:
        return self._statuses[index].state is ShardState.UNREACHABLE

    async def _watch(self, index: int) -> None:
        shard, loop = self._shards[index], asyncio.get_running_loop()
        while True:
            again_at = loop.time() + self._probe_s
            try:
                await self._look(index, wait=self._is_gone(index))
                await self._bring_up(index)
            except Exception:
                # A bug must not end the watch: the shard would stay refused for ever.
                _log.exception("cannot look", shard=shard.identity.name)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(again_at):
                    await shard.lost.wait()
            await asyncio.sleep(_AGAIN_S)

    async def _look(self, index: int, *, wait: bool) -> None:
        """Ask a shard for its status, and admit or refuse it by what it says."""
        shard = self._shards[index]
        async with self._looking[index]:
            before = self._statuses[index]
            shard.lost.clear()
            status = _judged(shard, await shard.status(self._look_s, wait=wait), before)
            async with self._vetting:
                if status.state.answers:
                    status = await self._vetted(index, status)
                self._settle(index, status)
                self._doubt_again(status)
        if _gist(status) != _gist(before):
            _report(status, shard.identity)

    async def _vetted(self, index: int, status: ShardStatus) -> ShardStatus:
        """Refuse a shard whose data is not what the others, or this router, know of it."""
        seen = [*self._statuses[:index], status, *self._statuses[index + 1 :]]
        known = self._acquaintance
        error = known.doubt(index, seen) or await known.introduce(index, seen)
        return status if error is None else self._doubted(index, status, error)

    def _doubted(self, index: int, status: ShardStatus, error: FanlightError) -> ShardStatus:
        last = self._acquaintance.last(index)
        held = () if last is None else last.collections
        return replace(status, state=ShardState.MISMATCHED, error=error, collections=held)

    def _settle(self, index: int, status: ShardStatus) -> None:
        """Admit or refuse a shard by its status."""
        shard = self._shards[index]
        # A shard that was lost while it was looked at may be another one by now.
        if status.state.answers and not shard.lost.is_set():
            shard.admit()
            self._known.see(index, _items(status))
            self._acquaintance.note(index, status)
        elif status.error is not None and (
            status.state is ShardState.MISMATCHED or not shard.is_admitted
        ):
            shard.refuse(status.error)
        self._statuses[index] = status

    def _doubt_again(self, witness: ShardStatus) -> None:
        """Refuse what was admitted before a shard was seen that knows it by other data."""
        for index in witness.peers.keys() & range(len(self._shards)):
            shard, status = self._shards[index], self._statuses[index]
            if not shard.is_admitted or status.data_id == witness.peers[index]:
                continue
            error = self._acquaintance.doubt(index, self._statuses)
            if error is not None:
                self._settle(index, self._doubted(index, status, error))
                _report(self._statuses[index], shard.identity)

    def _learn(self, told: Mapping[int, Mapping[int, str]]) -> None:
        """Know what shards were told without asking them, so that the next look believes no old words."""
        for index, news in told.items():
            status = self._statuses[index]
            self._statuses[index] = replace(status, peers={**status.peers, **news})

    async def _bring_up(self, index: int) -> None:
        """Give a shard what it lacks of the collections that others know."""
        shard, status = self._shards[index], self._statuses[index]
        if status.state is not ShardState.SERVING:
            return
        held = {info.spec.name: info for info in status.collections}
        for name, best in _newest(self._statuses).items():
            own = held.get(name)
            if own is None or _age(own) < _age(best):
                await self._hand_over(shard, best, own)
            elif remedy := _remedy(own, best):
                _log.error(f"shards disagree on a collection; {remedy}", collection=name)

    async def _hand_over(
        self, shard: WatchedShard, info: CollectionInfo, own: CollectionInfo | None
    ) -> None:
        name = info.spec.name
        try:
            if info.deleted:
                await shard.delete_collection(name, info.version, self._look_s)
            elif own is None or own.version < info.version:
                await shard.create_collection(
                    info.spec, info.version, self._look_s, restoring=info.restoring
                )
            if info.fields_version:
                await shard.declare_fields(name, declaration_of(info), self._look_s)
        except FanlightError as error:
            # It is tried again at the next look.
            _log.warning(
                "cannot bring up", shard=shard.identity.name, collection=name, why=error.message
            )
        else:
            _log.info(
                "brought up",
                shard=shard.identity.name,
                collection=name,
                version=info.version,
                deleted=info.deleted,
            )


def _newest(statuses: Iterable[ShardStatus]) -> dict[str, CollectionInfo]:
    best: dict[str, CollectionInfo] = {}
    for status in statuses:
        for info in status.collections:
            known = best.get(info.spec.name)
            if known is None or _age(known) < _age(info):
                best[info.spec.name] = info
    return best


def _age(info: CollectionInfo) -> tuple[int, int]:
    """Order what is known of a collection; the fields are younger than the rest."""
    return info.version, info.fields_version


def _remedy(own: CollectionInfo, best: CollectionInfo) -> str:
    """Tell how to settle what two shards of the same age disagree on; "" where they agree."""
    if own.deleted and best.deleted:
        return ""
    like_best = replace(own.spec, filterable=best.spec.filterable, ef_search=best.spec.ef_search)
    if own.deleted != best.deleted or like_best != best.spec:
        return "delete it"
    return "" if own.spec == best.spec else _DECLARE


def _judged(shard: WatchedShard, status: ShardStatus, before: ShardStatus) -> ShardStatus:
    """Compare what a shard says with the map, and complete what it could not say."""
    if status.state in (ShardState.UNREACHABLE, ShardState.NOT_SERVING):
        return replace(
            status,
            address=shard.address,
            collections=before.collections,
            data_id=before.data_id,
            peers=before.peers,
        )
    if status.identity == shard.identity:
        return replace(status, address=shard.address)
    expected, found = (_described(identity) for identity in (shard.identity, status.identity))
    return replace(
        status,
        address=shard.address,
        state=ShardState.MISMATCHED,
        error=status.error or WrongShard(f"the shard map expects {expected}, got {found}"),
        collections=(),
        data_id="",
        peers={},
    )


def _gist(status: ShardStatus) -> tuple[object, ...]:
    """Tell what of a status is news; the free bytes of a full disk are not."""
    is_read_only = status.state is ShardState.READ_ONLY
    return status.state, type(status.error), "" if is_read_only else str(status.error)


def _described(identity: ShardIdentity) -> str:
    return f"{identity.name} of {identity.count} of cluster {identity.cluster!r}"


def _items(status: ShardStatus) -> dict[str, int]:
    return {info.spec.name: info.items for info in status.collections if not info.deleted}


def _report(status: ShardStatus, expected: ShardIdentity) -> None:
    say = {ShardState.SERVING: _log.info, ShardState.MISMATCHED: _log.error}
    say.get(status.state, _log.warning)(
        f"shard {status.state}",
        shard=expected.name,
        address=status.address,
        version=status.version,
        why=None if status.error is None else status.error.message,
    )
