"""What `fanlight up` reads, and what it refuses before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanlight.cli.local_config import load_local, merged
from fanlight.config import ConfigError


def written(path: Path, text: str) -> Path:
    file = path / "cluster.yaml"
    file.write_text(text)
    return file


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    """What is given on the command line wins over the file, and the file over the defaults."""
    file = written(tmp_path, "cluster: {shards: 5, port: 9000}")
    shape = load_local(file, ["cluster.shards=2"]).cluster
    assert (shape.shards, shape.port, shape.data) == (2, 9000, Path("fanlight-data"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cluster: {shard: 3}", "cluster.shard: unknown key; did you mean cluster.shards?"),
        ("servers: {}", "servers: unknown key; did you mean server?"),
        ("cluster: {shards: 0}", "cluster.shards: "),
        ("cluster: {port: 65535}", "cluster.port: expected room for the shards' ports"),
        ("server: {data: /tmp/x}", "server.data: expected no such key"),
        ("server: {shard: {index: 1}}", "server.shard: expected no such key"),
        ("server: {listen: {port: 7}}", "server.listen.port: expected no such key"),
        ("router: {shards: []}", "router.shards: expected no such key"),
        ("router: {listen: {host: 0.0.0.0}}", "router.listen.host: expected no such key"),
    ],
)
def test_wrong_keys_are_named(text: str, error: str, tmp_path: Path) -> None:
    """A key that is unknown, out of range or the launcher's own is refused by its name."""
    with pytest.raises(ConfigError) as refused:
        load_local(written(tmp_path, text))
    assert str(refused.value).startswith(error)


def test_sections_of_the_programs_are_kept(tmp_path: Path) -> None:
    """The programs' own keys are handed on as they stand."""
    file = written(tmp_path, "server: {listen: {drain_s: 3.0}, log: {level: debug}}")
    assert load_local(file).server == {"listen": {"drain_s": 3.0}, "log": {"level": "debug"}}


def test_merging_keeps_what_is_not_named() -> None:
    """Merging two trees of keys takes the second's values and keeps all others."""
    base = {"listen": {"port": 1, "drain_s": 3}, "log": {"level": "debug"}}
    assert merged(base, {"listen": {"port": 2}, "data": "x"}) == {
        "listen": {"port": 2, "drain_s": 3},
        "log": {"level": "debug"},
        "data": "x",
    }
    assert base["listen"] == {"port": 1, "drain_s": 3}
