"""What a shard server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval, MinLen

from fanlight.config import AccessConfig, ConfigError, ListenConfig, LogConfig, TlsConfig
from fanlight.limits import Limits
from fanlight.placement import SLOTS, ShardIdentity
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.storage.settings import StorageConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """Which shard this is. Part of the data: items are placed by it.

    Attributes:
        index: 0-based place in the routers' list of shards.
        count: shards of the cluster.
    """

    index: Annotated[int, Interval(ge=0, le=SLOTS - 1)] = 0
    count: Annotated[int, Interval(ge=1, le=SLOTS)] = 1

    def __post_init__(self) -> None:
        """Refuse an index past the count."""
        if self.index >= self.count:
            raise ConfigError(
                f"shard.index: expected less than shard.count ({self.count}), got {self.index}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The configuration of a shard server.

    Attributes:
        cluster: name of the cluster; routers of another cluster are refused.
        shard: which shard this is.
        listen: where it listens.
        tls: how it encrypts.
        access: who may call.
        data: directory of the data, made if absent; one server at a time holds it.
        index: how the index is built and kept.
        search: how searches run.
        storage: what must stay free of the disk.
        limits: what it accepts at the most.
        log: how it logs.
    """

    cluster: Annotated[str, MinLen(1)] = "local"
    shard: ShardConfig = ShardConfig()
    listen: ListenConfig = ListenConfig(port=7_701)
    tls: TlsConfig = TlsConfig()
    access: AccessConfig = AccessConfig()
    data: Path
    index: IndexConfig = IndexConfig()
    search: SearchConfig = SearchConfig()
    storage: StorageConfig = StorageConfig()
    limits: Limits = Limits()
    log: LogConfig = LogConfig()

    @property
    def identity(self) -> ShardIdentity:
        """Tell which part of which cluster this server is."""
        return ShardIdentity(self.cluster, self.shard.index, self.shard.count)
