"""Shards as the topology and the catalog see them: who they are and which collections they hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from fanlight.cluster import ShardState, ShardStatus
from fanlight.declarations import Declaration, declaration_of
from fanlight.errors import AlreadyExists, FanlightError, NotFound, NotReady
from fanlight.limits import Limits
from fanlight.model import CollectionInfo, CollectionSpec, Coverage
from fanlight.placement import ShardIdentity
from fanlight.provenance import check_known
from fanlight_router.catalog import ClusterCatalog
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline
from fanlight_router.topology import ShardMap, Topology

UNREACHABLE = NotReady("cannot be reached")


def data_of(index: int, letter: str = "d") -> str:
    """Make an id of data."""
    return f"{letter * 28}{index:04}"


class FakeWatched:
    """A shard that keeps collections by version as a shard server does.

    Attributes:
        identity: which shard the map expects.
        answers_as: which shard it says it is.
        is_up: whether it answers at all.
        busy: whether it is too busy to tell its status, though it answers other calls.
        fault: raised by changes of collections when set.
        write_refusal: why it takes no writes, if it takes none.
        refusal: as set by the topology; None when admitted.
        held: its collections by name, deleted ones included.
        data_id: of the data that it stands on.
        peers: the data of others that it has met.
        hide_peers: whether its status is from before it met them.
        changes: the changes that reached it.
        looks: how often its status was asked for.
    """

    def __init__(self, identity: ShardIdentity) -> None:
        self.identity = self.answers_as = identity
        self.address = f"host-{identity.index}:1"
        self.lost = asyncio.Event()
        self._up = asyncio.Event()
        self._up.set()
        self.busy = False
        self.fault: FanlightError | None = None
        self.write_refusal: FanlightError | None = None
        self.refusal: FanlightError | None = UNREACHABLE
        self.held: dict[str, CollectionInfo] = {}
        self.data_id = data_of(identity.index)
        self.peers: dict[int, str] = {}
        self.hide_peers = False
        self.changes: list[tuple[str, str, int]] = []
        self.looks = 0
        self.lose_while_looked_at = False

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    @is_up.setter
    def is_up(self, is_up: bool) -> None:
        (self._up.set if is_up else self._up.clear)()

    @property
    def is_admitted(self) -> bool:
        return self.refusal is None

    def admit(self) -> None:
        self.refusal = None

    def refuse(self, reason: FanlightError) -> None:
        self.refusal = reason

    def die(self) -> None:
        """Be gone as a killed process is: the connection breaks at once."""
        self.is_up = False
        self.break_connection()

    def break_connection(self) -> None:
        self.refusal = self.refusal or UNREACHABLE
        self.lost.set()

    def hold(self, info: CollectionInfo) -> None:
        self.held[info.spec.name] = info

    async def status(self, timeout_s: float, *, wait: bool) -> ShardStatus:
        self.looks += 1
        await asyncio.sleep(0)
        if self.lose_while_looked_at:
            self.break_connection()
        if wait:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._up.wait()
        if not self.is_up or self.busy:
            state = ShardState.UNREACHABLE
            return ShardStatus(self.identity, self.address, state, UNREACHABLE)
        held = tuple(self.held.values())
        state = ShardState.READ_ONLY if self.write_refusal else ShardState.SERVING
        refusal, data = (
            self.write_refusal,
            (self.data_id, {} if self.hide_peers else dict(self.peers)),
        )
        return ShardStatus(self.answers_as, "self", state, refusal, held, "1.0", *data)

    async def accept_data(
        self, data: Mapping[int, str], timeout_s: float, *, replace: bool = False
    ) -> None:
        await asyncio.sleep(0)
        for fault in (None if self.is_up else UNREACHABLE, self.fault):
            if fault is not None:
                raise fault
        own = {self.identity.index: self.data_id}
        check_known(data, own if replace else {**self.peers, **own})
        self.peers |= {at: data_id for at, data_id in data.items() if at not in own}

    async def _begin(self) -> None:
        await asyncio.sleep(0)
        for fault in (self.refusal, None if self.is_up else UNREACHABLE, self.fault):
            if fault is not None:
                raise fault

    async def create_collection(
        self, spec: CollectionSpec, version: int, timeout_s: float, *, restoring: bool = False
    ) -> CollectionInfo:
        await self._begin()
        known = self.held.get(spec.name)
        if known is None or known.version < version:
            self.changes.append(("create", spec.name, version))
            self.hold(CollectionInfo(spec, version, restoring=restoring))
        elif known.deleted or known.spec != spec:
            raise AlreadyExists("exists otherwise")
        return self.held[spec.name]

    async def declare_fields(
        self, name: str, declaration: Declaration, timeout_s: float
    ) -> CollectionInfo:
        await self._begin()
        known = self.held[name]
        present = declaration_of(known)
        declaration.check_follows(present, name)
        if declaration != present:
            self.changes.append(("declare", name, declaration.fields_version))
            spec = replace(
                known.spec,
                filterable=declaration.filterable,
                ef_search=declaration.ef_search,
            )
            self.hold(replace(known, spec=spec, fields_version=declaration.fields_version))
        return self.held[name]

    async def finish_restore(self, name: str, timeout_s: float) -> CollectionInfo:
        await self._begin()
        self.hold(replace(self.held[name], restoring=False))
        return self.held[name]

    async def delete_collection(self, name: str, version: int, timeout_s: float) -> None:
        await self._begin()
        known = self.held.get(name)
        if known is None or known.version < version:
            self.changes.append(("delete", name, version))
            spec = known.spec if known is not None else CollectionSpec(name, dim=1)
            self.hold(CollectionInfo(spec, version, deleted=True))

    async def get_collection(self, name: str, timeout_s: float) -> tuple[CollectionInfo, Coverage]:
        await self._begin()
        info = self.held.get(name)
        if info is None or info.deleted:
            raise NotFound("there is none")
        return info, Coverage(1, 1, info.items, info.items)

    async def list_collections(self, timeout_s: float) -> tuple[list[CollectionInfo], Coverage]:
        await self._begin()
        live = [info for info in self.held.values() if not info.deleted]
        items = sum(info.items for info in live)
        return live, Coverage(1, 1, items, items)


class WatchedCluster:
    """Such shards, watched, and the catalog over them."""

    def __init__(self, probe_s: float = 0.05, shards: int = 3) -> None:
        shard_map = ShardMap("local", tuple(f"host-{index}:1" for index in range(shards)))
        self.shards = [FakeWatched(identity) for identity in shard_map.identities]
        self._probe_s = probe_s
        self._watch()

    def _watch(self) -> None:
        self.known = KnownItems()
        self.topology = Topology("local", self.shards, self.known, self._probe_s, "1.0")
        self.catalog = ClusterCatalog(self.shards, self.topology, self.known, Limits())

    async def restart_router(self) -> None:
        """Go on with a router that has seen nothing yet."""
        await self.forget()
        await self.topology.start()

    async def forget(self) -> None:
        """Go on with a router that has seen nothing yet, and looks at shards when it is told to."""
        await self.topology.close()
        self._watch()

    def states(self) -> list[ShardState]:
        return [shard.state for shard in self.topology.status.shards]

    def versions(self, name: str) -> list[tuple[int, bool] | None]:
        """Tell what each shard holds under a name: version and whether it is deleted."""
        infos = [shard.held.get(name) for shard in self.shards]
        return [None if info is None else (info.version, info.deleted) for info in infos]


def soon(seconds: float = 10.0) -> Deadline:
    """Make a deadline that a test does not mean to reach."""
    return Deadline(time.monotonic() + seconds)
