"""How a cluster stands: its shards, their health, and what they hold.

A shard server reports itself as the only shard; a router reports every shard of its map.
Values are frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fanlight.errors import FanlightError
from fanlight.model import CollectionInfo
from fanlight.placement import ShardIdentity


class ShardState(StrEnum):
    """Whether a shard answers."""

    SERVING = "serving"
    # Answers searches and reads, refuses writes: its disk is full or has failed.
    READ_ONLY = "read_only"
    # Reached, but it loads or drains.
    NOT_SERVING = "not_serving"
    UNREACHABLE = "unreachable"
    # Reached, but not the shard of the map, or over other data than is known; a router sends it nothing.
    MISMATCHED = "mismatched"

    @property
    def answers(self) -> bool:
        """Whether searches are sent to it."""
        return self in (ShardState.SERVING, ShardState.READ_ONLY)


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """A shard as it stands.

    Attributes:
        identity: which part of which cluster it is (or, when unreachable, should be).
        address: "host:port" as the answering program knows it.
        state: whether it answers.
        error: why it is not serving all calls; None when it is.
        collections: its part of each collection by name, deleted ones included.
        version: of the shard server; "" when it cannot be reached.
        data_id: of the data that it stands on, see `fanlight.provenance`; "" when it was never told.
        peers: the data of the cluster's other shards, by index, as this one has met them.
    """

    identity: ShardIdentity
    address: str
    state: ShardState
    error: FanlightError | None = None
    collections: tuple[CollectionInfo, ...] = ()
    version: str = ""
    data_id: str = ""
    peers: Mapping[int, str] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """Count the live items of all its collections."""
        return sum(info.items for info in self.collections if not info.deleted)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A cluster as it stands.

    Attributes:
        cluster: its name.
        shards: every shard of the answering program's map, in order of index.
        version: of the answering program.
    """

    cluster: str
    shards: tuple[ShardStatus, ...]
    version: str

    @property
    def complete(self) -> bool:
        """Whether every shard serves all calls."""
        return all(shard.state is ShardState.SERVING for shard in self.shards)
