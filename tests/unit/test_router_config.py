"""The router's configuration: what it needs, and how it refuses what it cannot use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fanlight.config import ConfigError, dump, load
from fanlight_router.config import RouterConfig


def test_the_addresses_of_the_shards_are_all_it_needs() -> None:
    """Names, IPv4 and IPv6 addresses are taken, in order; the rest has defaults."""
    addresses = ["shard-0.shards:7701", "127.0.0.1:7702", "[::1]:7703"]
    config = load(RouterConfig, None, [f"shards={addresses}"])
    assert config.shards == tuple(addresses)
    assert (config.cluster, config.listen.port, config.listen.host) == ("local", 7700, "127.0.0.1")
    assert "probe_s: 1.0" in dump(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("shards=[]", r"shards: expected 1 to 1000 addresses, got \[\]"),
        ('shards=["127.0.0.1"]', r"^shards\.0: expected host:port, got '127\.0\.0\.1'$"),
        ('shards=["a:1", "b:0"]', r"^shards\.1: expected host:port"),
        ('shards=["a:1", "b:65536"]', r"^shards\.1: expected host:port"),
        ('shards=["http://a:1"]', r"^shards\.0: expected host:port"),
        ('shard=["a:1"]', "did you mean shards"),
        ("timeouts.probe_s=0", "timeouts.probe_s"),
        ("cluster=x", "shards: is missing"),
    ],
)
def test_what_cannot_be_used_is_named(override: str, message: str) -> None:
    """Each error names the key, what was expected and what it holds."""
    with pytest.raises(ConfigError, match=message):
        load(RouterConfig, None, [override])


def test_sockets_are_as_many_as_shards() -> None:
    """A socket too few would leave a shard nowhere; none at all means the addresses."""
    config = RouterConfig(shards=("a:1", "b:2"))
    assert config.targets == ("a:1", "b:2")
    assert replace(config, sockets=("/a", "/b")).targets == ("unix:/a", "unix:/b")
    with pytest.raises(ConfigError, match="sockets: expected one for each of 2 shards"):
        replace(config, sockets=("/a",))
