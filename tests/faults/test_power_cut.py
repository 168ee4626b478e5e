"""What is acknowledged survives a loss of power; see `tests.faults.power_cut`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.faults import power_cut
from tests.faults.crash_points import Image, Loss, Op

SEED = 20261129


@pytest.mark.slow
def test_nothing_acknowledged_is_lost() -> None:
    """At points all over a run, with what was not synced kept, dropped or torn: all is there."""
    outcome = power_cut.cut(SEED, operations=20, stride=23)
    assert outcome.failures == 0, outcome
    assert outcome.trials >= 60
    assert outcome.acknowledged == 60


@pytest.mark.slow
def test_a_store_that_does_not_sync_is_caught() -> None:
    """The trials see losses where there are some."""
    assert power_cut.losses_without_syncs(SEED, operations=8, stride=20).found["lost"]


def image(*ops: Op) -> Image:
    made = Image("/d", 1)
    for op in ops:
        made.apply(op)
    return made


def contents(made: Image, loss: Loss, folder: Path, seed: int = 0) -> dict[str, bytes]:
    made.top.write(folder, loss, random.Random(seed))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_crash_drops_what_was_not_synced(tmp_path: Path) -> None:
    """Of content what was written since the last sync, of names what the directory did not sync."""
    write = Op("W", 2, 0, "", b"new")
    made = image(
        Op("C", 2, 0, "/d/a.tmp", b""),
        write,
        Op("S", 2, 0, "", b""),
        Op("D", 1, 0, "", b""),
        Op("R", 0, 0, "/d/a.tmp", b"/d/a"),
        Op("W", 2, 1, "", b"XXXX"),
    )
    assert contents(made, Loss.KEPT, tmp_path / "kept") == {"a": b"nXXXX"}
    assert contents(made, Loss.DROPPED, tmp_path / "dropped") == {"a.tmp": b"new"}
    made.apply(Op("D", 1, 0, "", b""))
    assert contents(made, Loss.DROPPED, tmp_path / "renamed") == {"a": b"new"}


def test_a_crash_tears_what_was_not_synced(tmp_path: Path) -> None:
    """Any of the writes and any of their sectors may be there; what was synced always is."""
    made = image(
        Op("C", 2, 0, "/d/a", b""),
        Op("W", 2, 0, "", b"s" * 512),
        Op("S", 2, 0, "", b""),
        Op("D", 1, 0, "", b""),
        Op("W", 2, 512, "", b"1" * 512 + b"2" * 512),
    )
    seen = set()
    for seed in range(60):
        found = contents(made, Loss.TORN, tmp_path / str(seed), seed)["a"]
        assert found[:512] == b"s" * 512
        seen.add(found[512:])
    zeros, one, two = bytes(512), b"1" * 512, b"2" * 512
    assert seen == {b"", one, one + two, zeros + two}
