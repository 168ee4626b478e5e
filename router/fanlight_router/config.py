"""What a router is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval, MaxLen, MinLen
from pydantic import Field

from fanlight.config import ListenConfig, LogConfig
from fanlight.limits import Limits

Address = Annotated[str, Field(pattern=r"^[^\s:/]+:[0-9]{1,5}$|^\[[0-9a-fA-F:.]+\]:[0-9]{1,5}$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsConfig:
    """How long things may take, in seconds.

    Attributes:
        search_s: a search, a count or a read, whatever its caller allows. Six times what the
            SDK allows by default, for exact searches of large batches.
        write_s: an upsert, a deletion, or a change of a collection, whatever its caller allows.
            Such calls wait for the disks of all shards.
        probe_s: between two looks at each shard, and for one look. A shard that comes back is
            used again within it, and it is the age that the figures of `fanlight status` reach.
    """

    search_s: Annotated[float, Interval(gt=0, le=3_600)] = 30.0
    write_s: Annotated[float, Interval(gt=0, le=3_600)] = 120.0
    probe_s: Annotated[float, Interval(ge=0.05, le=60)] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """The configuration of a router.

    Attributes:
        cluster: name of the cluster; a shard of another cluster is refused.
        listen: where it listens; 7700, with the shards of a local cluster on the next ports.
        shards: "host:port" of every shard, in order of index. Part of the data: items are
            placed by their number.
        timeouts: how long things may take.
        limits: what it accepts at the most.
        log: how it logs.
    """

    cluster: Annotated[str, MinLen(1)] = "local"
    listen: ListenConfig = ListenConfig(port=7_700)
    # Every search costs a message for each shard, so a thousand is past any use.
    shards: Annotated[tuple[Address, ...], MinLen(1), MaxLen(1_000)]
    timeouts: TimeoutsConfig = TimeoutsConfig()
    limits: Limits = Limits()
    log: LogConfig = LogConfig()
