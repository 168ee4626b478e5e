"""What `fanlight up` reads: the cluster's shape, and the keys handed on to its programs.

Laws: `server` and `router` hold exactly the programs' own keys, which the programs themselves
check; what the launcher decides for each process may not stand there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from fanlight.config import ConfigError, load

Keys = Mapping[str, Any]

_DECIDED_BY_LAUNCHER = {
    "server": (
        ("cluster",),
        ("shard",),
        ("data",),
        ("listen", "host"),
        ("listen", "port"),
        ("listen", "socket"),
    ),
    "router": (
        ("cluster",),
        ("shards",),
        ("sockets",),
        ("listen", "host"),
        ("listen", "port"),
        ("listen", "socket"),
    ),
}
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterShape:
    """The shape of a local cluster.

    Attributes:
        name: of the cluster; a shard refuses data that another cluster wrote.
        shards: shard servers. Part of the data: items are placed by it.
        port: the router's; the shards take the next ones. 0 for free ports.
        data: directory of the shards' data, logs and generated configuration files.
    """

    name: str = "local"
    shards: Annotated[int, Interval(ge=1, le=64)] = 3
    port: Annotated[int, Interval(ge=0, le=_LAST_PORT)] = 7_700
    data: Path = Path("fanlight-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """A local cluster: its shape, and what its programs are told besides.

    Attributes:
        cluster: the shape.
        server: keys for every shard server's configuration file.
        router: keys for the router's configuration file.
    """

    cluster: ClusterShape = ClusterShape()
    server: Keys = field(default_factory=dict)
    router: Keys = field(default_factory=dict)


def load_local(path: Path | None, overrides: Sequence[str] = ()) -> LocalConfig:
    """Load the configuration of a local cluster.

    Args:
        path: a YAML file; None for the defaults.
        overrides: each "section.key=value"; they win.

    Raises:
        ConfigError: names the key, what was expected and what it holds.
    """
    config = load(LocalConfig, path, overrides)
    for section, keys in (("server", config.server), ("router", config.router)):
        for key in _DECIDED_BY_LAUNCHER[section]:
            if _has(keys, key):
                raise ConfigError(
                    f"{'.'.join((section, *key))}: expected no such key, since the launcher "
                    "decides it for each process; see the section `cluster`"
                )
    last = config.cluster.port + config.cluster.shards
    if last > _LAST_PORT:
        raise ConfigError(f"cluster.port: expected room for the shards' ports, got up to {last}")
    return config


def _has(keys: object, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(keys, Mapping) or key not in keys:
            return False
        keys = keys[key]
    return True


def merged(base: Keys, over: Keys) -> dict[str, Any]:
    """Merge two trees of keys; `over` wins."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merged(below, value)
        result[key] = value
    return result
