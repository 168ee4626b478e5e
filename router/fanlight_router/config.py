"""What a router is told when it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval, MinLen
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from fanlight.access.tls import Tls
from fanlight.config import AccessConfig, ConfigError, ListenConfig, LogConfig, TlsConfig
from fanlight.limits import Limits

_SHARDS_MAX = 1_000
_ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})")


def _check_address(address: str) -> str:
    match = _ADDRESS.fullmatch(address)
    if match is None or not 1 <= int(match[1]) <= 65_535:
        raise PydanticCustomError("address", "expected host:port")
    return address


def _check_number(shards: tuple[str, ...]) -> tuple[str, ...]:
    # Every search costs a message for each shard, so a thousand is past any use.
    if not 1 <= len(shards) <= _SHARDS_MAX:
        raise PydanticCustomError("shards", "expected 1 to {most} addresses", {"most": _SHARDS_MAX})
    return shards


Address = Annotated[str, AfterValidator(_check_address)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutsConfig:
    """How long things may take, in seconds.

    Attributes:
        search_s: a search, a count or a read, whatever its caller allows. Six times what the
            SDK allows by default, for exact searches of large batches.
        write_s: an upsert, a deletion, or a change of a collection, whatever its caller allows.
            Such calls wait for the disks of all shards.
        probe_s: between two looks at each shard: the age that the figures of `fanlight status`
            reach. A shard whose connection breaks is looked at at once.
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
        tls: how it encrypts.
        access: who may call.
        shards: "host:port" of every shard, in order of index. Part of the data: items are
            placed by their number.
        sockets: Unix sockets of the same shards, for a router on their machine; none to use the
            addresses above.
        shards_tls: how it encrypts to the shards, read again when the files change; plain text
            without a `ca`. Sockets are never encrypted.
        shards_key: file that holds the API key, of the role "cluster", which it shows to the
            shards; "" for none. Read again when it changes.
        timeouts: how long things may take.
        limits: what it accepts at the most.
        log: how it logs.
    """

    cluster: Annotated[str, MinLen(1)] = "local"
    listen: ListenConfig = ListenConfig(port=7_700)
    tls: TlsConfig = TlsConfig()
    access: AccessConfig = AccessConfig()
    shards: Annotated[tuple[Address, ...], AfterValidator(_check_number)]
    sockets: tuple[str, ...] = ()
    shards_tls: Tls = Tls()
    shards_key: str = ""
    timeouts: TimeoutsConfig = TimeoutsConfig()
    limits: Limits = Limits()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        """Hold the keys to each other."""
        if self.sockets and len(self.sockets) != len(self.shards):
            raise ConfigError(
                f"sockets: expected one for each of {len(self.shards)} shards or none, "
                f"got {len(self.sockets)}"
            )
        if self.shards_tls != Tls() and not self.shards_tls.ca:
            raise ConfigError("shards_tls.ca: is missing: without it the shards cannot be known")

    @property
    def targets(self) -> tuple[str, ...]:
        """Say where to connect to each shard."""
        return tuple(f"unix:{path}" for path in self.sockets) or self.shards
