"""The configuration loader: strict, and clear about what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from fanlight.config import ConfigError, ListenConfig, LogConfig, as_mapping, dump, load
from fanlight.limits import Limits
from fanlight_server.config import ServerConfig, ShardConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A program's configuration with one required key."""

    data: Path
    names: tuple[str, ...] = ()
    listen: ListenConfig = ListenConfig(port=7_000, drain_s=3.0)
    limits: Limits = Limits()
    log: LogConfig = LogConfig()


def write(directory: Path, text: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(text)
    return path


def test_a_key_left_out_has_the_default_of_its_section(tmp_path: Path) -> None:
    """A section with one key keeps the enclosing configuration's defaults for the others."""
    path = write(tmp_path, "data: here\nlisten: {insecure: true}\nlog:\n  # nothing\n")
    config = load(Config, path)
    assert config == Config(
        data=Path("here"), listen=ListenConfig(port=7_000, drain_s=3.0, insecure=True)
    )


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    """`a.b=value` replaces what the file says, and the last one wins; values are YAML."""
    path = write(tmp_path, "data: here\nlisten: {port: 1}\nnames: [a]\n")
    overrides = ["listen.port=2", "listen.port=3", "names=[b, c]", "limits.k=7", "data=there"]
    config = load(Config, path, overrides)
    assert (config.listen.port, config.names, config.limits.k) == (3, ("b", "c"), 7)
    assert config.data == Path("there")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("data: x\nlisten: {prot: 1}", "listen.prot: unknown key; did you mean listen.port?"),
        ("data: x\nlimit: {}", "limit: unknown key; did you mean limits?"),
        ("data: x\nzzz: 1", "zzz: unknown key; expected one of data, names, listen, limits, log"),
        ("listen: {}", "data: is missing"),
        ("data: x\nlisten: {port: 70000}", "listen.port: expected less than or equal to 65535"),
        ("data: x\nlisten: {port: '80'}", "listen.port: expected a valid integer, got '80'"),
        ("data: x\nlisten: {port: true}", "listen.port: expected a valid integer, got True"),
        ("data: x\nlisten: {drain_s: .nan}", "listen.drain_s"),
        ("data: x\nlisten: 5", "listen: expected a section of keys and values, got 5"),
        ("data: x\nlog: {format: xml}", "log.format: expected 'text' or 'json', got 'xml'"),
        ("data: x\nnames: a", "names: expected a valid array"),
        ("data: x\nlimits: {k: 0, dim: 0}", "limits.dim: expected greater than or equal to 1"),
        ("- a", "expected keys and values, got a list"),
        ("data: [", "line 1: is no YAML"),
        ("data: !!python/object:os.system {}", "is no YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """An unknown key, a wrong type and a value out of range are errors that name the key."""
    with pytest.raises(ConfigError) as caught:
        load(Config, write(tmp_path, text))
    assert complaint in str(caught.value)


@pytest.mark.parametrize("override", ["listen.port", "=1", "listen.=1", "listen.port=[", ".a=1"])
def test_an_override_has_a_key_and_a_value(override: str) -> None:
    """An override that is no section.key=value is an error that shows it."""
    with pytest.raises(ConfigError, match="--set"):
        load(Config, None, ["data=x", override])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, and one that is no text, are errors that name the file."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load(Config, tmp_path / "nowhere.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="is no UTF-8"):
        load(Config, binary)


def test_a_dump_loads_again(tmp_path: Path) -> None:
    """What is dumped gives the same configuration when it is loaded."""
    config = load(Config, None, ["data=x", "names=[a, b]", "listen.port=5"])
    assert load(Config, write(tmp_path, dump(config))) == config
    assert as_mapping(config)["names"] == ["a", "b"]


def test_a_shard_is_one_of_those_that_are() -> None:
    """A shard's index is below the number of shards."""
    config = load(ServerConfig, None, ["data=x", "shard.index=2", "shard.count=3"])
    assert config.shard == ShardConfig(index=2, count=3)
    assert config.identity.name == "shard-2"
    with pytest.raises(ConfigError, match=r"shard\.index: expected less than shard\.count \(3\)"):
        load(ServerConfig, None, ["data=x", "shard.index=3", "shard.count=3"])


def test_the_default_is_safe() -> None:
    """A server that is told nothing but its directory listens on loopback only."""
    config = load(ServerConfig, None, ["data=x"])
    assert config.listen == ListenConfig(host="127.0.0.1", port=7_701, insecure=False)
