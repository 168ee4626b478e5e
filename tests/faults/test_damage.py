"""Damage to files, in short; `python -m tests.faults.damage SECONDS SEED` is the long form."""

from __future__ import annotations

import pytest
from tests.faults.damage import run

SEED = 20261129
# About every file, every kind of damage and both a stopped and a killed shard, once.
TRIALS = 110


@pytest.mark.slow
def test_no_damage_passes() -> None:
    """Whatever file is damaged: refused, rebuilt, or unread; and the check finds it too."""
    outcome = run(150, SEED, TRIALS)
    print(outcome.notes)  # noqa: T201  with the seed
    assert outcome.failures == 0, outcome.notes
    assert outcome.trials
    assert outcome.control
    assert "refused" in outcome.notes
    assert "rebuilt" in outcome.notes
