"""Snapshots survive kills whole or not at all, and no damage passes; see `tests.faults.snapshot`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.faults import snapshot

SEED = 20261129


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_leave_no_half_snapshot(tmp_path: Path) -> None:
    """Of a shard, a router and the process that takes it, one is killed each time."""
    kills = snapshot.killed(tmp_path, SEED, lambda trials: trials >= 3)
    assert kills.verdict.total == 0, kills
    assert kills.half == 0, kills
    assert kills.whole + kills.refused == kills.trials
    assert kills.whole >= 1, kills
    assert kills.acknowledged >= snapshot.ITEMS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_damage_is_refused(tmp_path: Path) -> None:
    """Each kind of damage to each file is refused, and the same flips pass unchecked."""
    damages = snapshot.damaged(tmp_path, SEED, lambda trials: trials >= 20)
    assert damages.trials >= 20
    assert damages.accepted == 0, damages
    seen = re.search(r"(\d+) of them to other items", damages.control)
    assert seen, damages.control
    assert int(seen[1]) > 0, damages.control
