"""The collections of the cluster: every change is made on all shards, under one version.

Laws: a change needs all shards; if one fails in the middle, the change is completed when it
returns, because the highest version wins (see `fanlight_router.topology`). Shard 0 is changed
first, so that of two routers that create the same name at once one fails before it has touched
anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from fanlight.declarations import Declaration, declaration_of, united
from fanlight.errors import NotFound, NotReady, WrongShard
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import CollectionInfo, CollectionSpec, Coverage
from fanlight.validation import check_min_coverage, check_same, check_spec
from fanlight_router.coverage import KnownItems, unite
from fanlight_router.deadline import Deadline
from fanlight_router.gather import demand, demand_all, gather, named
from fanlight_router.topology import Topology

T = TypeVar("T")


class CatalogShard(Protocol):
    """What the catalog asks of a shard; raises as `fanlight_router.shards.Shard` does."""

    async def create_collection(
        self, spec: CollectionSpec, version: int, timeout_s: float, *, restoring: bool = False
    ) -> CollectionInfo:
        """Create a collection of this version; return it if it exists."""
        ...

    async def finish_restore(self, name: str, timeout_s: float) -> CollectionInfo:
        """Let a collection that was created as `restoring` be read."""
        ...

    async def declare_fields(
        self, name: str, declaration: Declaration, timeout_s: float
    ) -> CollectionInfo:
        """Take a declaration for the fields of a collection."""
        ...

    async def delete_collection(self, name: str, version: int, timeout_s: float) -> None:
        """Delete a collection and record the deletion's version."""
        ...

    async def get_collection(self, name: str, timeout_s: float) -> tuple[CollectionInfo, Coverage]:
        """Describe this shard's part of a collection."""
        ...

    async def list_collections(self, timeout_s: float) -> tuple[list[CollectionInfo], Coverage]:
        """Describe this shard's part of all collections."""
        ...


class ClusterCatalog:
    """The collections over all shards. For one event loop."""

    def __init__(
        self,
        shards: Sequence[CatalogShard],
        topology: Topology,
        known: KnownItems,
        limits: Limits,
    ) -> None:
        self._shards = tuple(shards)
        self._topology = topology
        self._known = known
        self._limits = limits
        self._changing = asyncio.Lock()

    async def create(
        self, spec: CollectionSpec, deadline: Deadline, *, restoring: bool = False
    ) -> CollectionInfo:
        """Create a collection, or return the one that exists with the same parameters.

        Args:
            spec: its parameters.
            deadline: for all shards.
            restoring: refuse reads until `finish_restore`. Without effect on one that exists.

        Raises:
            InvalidRequest: a parameter is out of range.
            AlreadyExists: one exists with other parameters.
            NotReady: a shard is missing; the error names it and says what becomes of the change.
            WrongShard: a shard is not the one of the shard map.
        """
        check_spec(spec, self._limits)
        async with self._changing:
            best = await self._newest(spec.name, "creating")
            if best is None or best.deleted:
                version = 1 if best is None else best.version + 1
            else:
                check_same(spec, best.spec)
                version = best.version
            infos = await self._change(
                "creation",
                lambda shard, left_s: shard.create_collection(
                    spec, version, left_s, restoring=restoring
                ),
                deadline,
            )
        return united(infos)

    async def update(
        self,
        name: str,
        add: Mapping[str, FieldType],
        drop: Sequence[str],
        deadline: Deadline,
        ef_search: int | None = None,
    ) -> CollectionInfo:
        """Declare filterable fields on all shards, or drop some, or set `ef_search`; idempotent.

        Args:
            name: of the collection.
            add: fields to declare, with their types.
            drop: fields to drop, before others are added.
            deadline: for all shards.
            ef_search: see `Declaration.changed`.

        Raises:
            NotFound: there is no such collection.
            InvalidRequest: see `Declaration.changed`.
            AlreadyExists: another router changed the fields at the same moment.
            NotReady: a shard is missing; the error names it and says what becomes of the change.
            WrongShard: a shard is not the one of the shard map.
        """
        return await self._declare(
            name, lambda now: now.changed(add, drop, self._limits, ef_search), deadline
        )

    async def declare(
        self, name: str, declaration: Declaration, deadline: Deadline
    ) -> CollectionInfo:
        """Take what a router over this one declares, but its versions; raises as `update` does."""
        declaration.check(self._limits)
        filterable, ef_search = declaration.filterable, declaration.ef_search
        return await self._declare(name, lambda now: now.replaced(filterable, ef_search), deadline)

    async def _declare(
        self, name: str, change: Callable[[Declaration], Declaration], deadline: Deadline
    ) -> CollectionInfo:
        async with self._changing:
            best = await self._newest(name, "updating")
            if best is None or best.deleted:
                raise NotFound(f"name: there is no collection {name!r}", field="name")
            declaration = change(declaration_of(best))
            if declaration.fields_version == best.fields_version and self._topology.is_disputed(
                name
            ):
                # Repeating what one shard holds must reach those that hold another of this version.
                declaration = replace(declaration, fields_version=best.fields_version + 1)
            infos = await self._change(
                "update",
                lambda shard, left_s: shard.declare_fields(name, declaration, left_s),
                deadline,
            )
        return united(infos)

    async def finish_restore(self, name: str, deadline: Deadline) -> CollectionInfo:
        """Let a collection that was created as `restoring` be read on all shards; idempotent.

        Raises:
            NotFound: there is no such collection.
            NotReady: a shard is missing; it refuses reads until this was called again.
        """
        async with self._changing:
            left_s = deadline.left_s()
            calls = {i: shard.finish_restore(name, left_s) for i, shard in enumerate(self._shards)}
            gathered = await gather(calls, left_s)
            demand_all(gathered)
        return united(list(gathered.answers.values()))

    async def delete(self, name: str, deadline: Deadline) -> None:
        """Delete a collection and all its items.

        Raises:
            NotFound: there is no such collection.
            NotReady: a shard is missing; the error names it and says what becomes of the change.
            WrongShard: a shard is not the one of the shard map.
        """
        async with self._changing:
            best = await self._newest(name, "deleting")
            if best is None or best.deleted:
                raise NotFound(f"name: there is no collection {name!r}", field="name")
            version = best.version + 1
            await self._change(
                "deletion",
                lambda shard, left_s: shard.delete_collection(name, version, left_s),
                deadline,
            )

    async def get(
        self, name: str, min_coverage: float, deadline: Deadline
    ) -> tuple[CollectionInfo, Coverage]:
        """Describe a collection as the shards that answer hold it.

        Raises:
            InvalidRequest: `min_coverage` is no share.
            NotFound: there is no such collection.
            PartialResult: fewer shards answered than `min_coverage` demands.
        """
        check_min_coverage(min_coverage)
        left_s = deadline.left_s()
        calls = {i: shard.get_collection(name, left_s) for i, shard in enumerate(self._shards)}
        gathered = await gather(calls, left_s)
        covered = {i: coverage for i, (_, coverage) in gathered.answers.items()}
        coverage = self._known.unite(name, covered, gathered.failures)
        demand(gathered, min_coverage, coverage)
        return united([info for info, _ in gathered.answers.values()]), coverage

    async def list_all(
        self, min_coverage: float, deadline: Deadline
    ) -> tuple[list[CollectionInfo], Coverage]:
        """Describe all collections, by name, as the shards that answer hold them.

        Raises:
            InvalidRequest: `min_coverage` is no share.
            PartialResult: fewer shards answered than `min_coverage` demands.
        """
        check_min_coverage(min_coverage)
        left_s = deadline.left_s()
        calls = {i: shard.list_collections(left_s) for i, shard in enumerate(self._shards)}
        gathered = await gather(calls, left_s)
        covered = {i: coverage for i, (_, coverage) in gathered.answers.items()}
        last_seen = {i: self._known.total(i) for i in gathered.failures}
        coverage = unite(covered, gathered.failures, last_seen)
        demand(gathered, min_coverage, coverage)
        parts: dict[str, list[CollectionInfo]] = {}
        for infos, _ in gathered.answers.values():
            for info in infos:
                parts.setdefault(info.spec.name, []).append(info)
        return [united(parts[name]) for name in sorted(parts)], coverage

    async def _newest(self, name: str, doing: str) -> CollectionInfo | None:
        """Ask all shards for the highest version of a name.

        Raises:
            NotReady: a shard does not answer.
            WrongShard: a shard is not the one of the shard map.
        """
        await self._topology.refresh()
        best = self._topology.newest(name)
        missing = {
            index: status.error or NotReady("is not serving")
            for index, status in enumerate(self._topology.status.shards)
            if not status.state.answers
        }
        if not missing:
            return best
        reasons = "; ".join(named(i, error).message for i, error in missing.items())
        message = f"{doing} a collection needs all shards: {reasons}"
        if best is not None and best.deleted:
            message += "; the others have deleted it, and these will when they return"
        wrong = any(isinstance(error, WrongShard) for error in missing.values())
        raise WrongShard(message) if wrong else NotReady(message)

    async def _change(
        self,
        what: str,
        call: Callable[[CatalogShard, float], Coroutine[Any, Any, T]],
        deadline: Deadline,
    ) -> list[T]:
        """Apply a change to shard 0, then to the others."""
        left_s = deadline.left_s()
        first = await gather({0: call(self._shards[0], left_s)}, left_s)
        demand_all(first)
        answers = dict(first.answers)
        if len(self._shards) > 1:
            left_s = deadline.left_s()
            calls = {i: call(shard, left_s) for i, shard in enumerate(self._shards) if i}
            others = await gather(calls, left_s)
            if others.failures:
                reasons = "; ".join(named(i, e).message for i, e in others.failures.items())
                raise NotReady(f"the {what} waits for shards, which get it on return: {reasons}")
            answers |= others.answers
        await self._topology.refresh()
        return list(answers.values())
