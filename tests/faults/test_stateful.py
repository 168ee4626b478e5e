"""Sequences of calls give what a dictionary gives; see `tests.faults.stateful`."""

from __future__ import annotations

import pytest
from tests.faults import stateful
from tests.faults.stateful import Tally

SEED = 20261129

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_every_answer_is_that_of_a_dictionary() -> None:
    """Upserts, deletions, reads, searches, scrolls, counts and a kill, in any order."""
    tally = Tally()
    print(f"seed {SEED}")  # noqa: T201  to repeat a failure
    with stateful.machine(tally) as steps:
        stateful.play(steps, SEED, examples=2)
    assert tally.steps > 100
    assert tally.kills >= 1
    assert tally.acknowledged > 0


def test_a_forgotten_deletion_is_caught() -> None:
    """An acknowledged deletion that did not happen would be seen."""
    assert "seen in" in stateful.caught(SEED)
