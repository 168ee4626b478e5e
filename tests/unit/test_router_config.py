"""The router's configuration: what it needs, and how it refuses what it cannot use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fanlight.access.tls import Tls
from fanlight.config import ConfigError, ListenConfig, dump, load
from fanlight_router.config import RouterConfig
from fanlight_router.renewal import Credentials


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


def test_the_key_for_the_shards_stays_unread_by_others(tmp_path: Path) -> None:
    """It is sent over sockets, on loopback, or encrypted, and never shown with the configuration."""
    secret = tmp_path / "key"
    secret.write_text("fanlight_k-e-y\n")
    secret.chmod(0o600)
    config = RouterConfig(shards=("a:1", "127.0.0.1:2"), shards_key=str(secret))
    assert "k-e-y" not in dump(config)
    with pytest.raises(ConfigError, match="plain text"):
        Credentials(config)
    for safe in (
        replace(config, shards=("127.0.0.1:2",)),
        replace(config, sockets=("/a", "/b")),
        replace(config, listen=ListenConfig(port=0, insecure=True)),
    ):
        shown = Credentials(safe).for_target(safe.targets[0])
        assert shown.metadata() == (("authorization", "Bearer fanlight_k-e-y"),)
        assert "k-e-y" not in repr(shown)
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="closed to other users"):
        Credentials(config)


def test_tls_to_the_shards_needs_an_authority() -> None:
    """Encryption towards somebody unknown is refused, and so is a file that is not there."""
    with pytest.raises(ConfigError, match=r"shards_tls\.ca: is missing"):
        RouterConfig(shards=("a:1",), shards_tls=Tls(cert="c", key="k"))
    with pytest.raises(ConfigError, match=r"nowhere\.pem: cannot be read"):
        Credentials(RouterConfig(shards=("a:1",), shards_tls=Tls(ca="nowhere.pem")))
