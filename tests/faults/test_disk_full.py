"""A full disk refuses writes and nothing else; see `tests.faults.disk_full`."""

from __future__ import annotations

import pytest
from tests.faults import disk_full
from tests.faults.small_disk import MIB, can_mount

SEED = 20261129


@pytest.mark.slow
@pytest.mark.parametrize("reserve", [2 * MIB, 0])
@pytest.mark.parametrize("mount", [True, False])
def test_nothing_acknowledged_is_lost(mount: bool, reserve: int) -> None:
    """Writes are refused with the figures and taken again; searches and items are untouched."""
    if mount and not can_mount():
        pytest.skip("only root may mount; the quota is tested")
    tally = disk_full.Tally()
    disk_full.filled(SEED, mount=mount, reserve=reserve, tally=tally)
    outcome = disk_full.outcome_of(tally, SEED, "tmpfs" if mount else "quota")
    assert outcome.failures == 0, outcome
    assert tally.refused > 0
    assert tally.searches > 0
    assert len(tally.resumed_s) == 1


@pytest.mark.slow
def test_a_server_that_acknowledges_what_did_not_fit_is_caught() -> None:
    """The trial sees losses where there are some."""
    assert disk_full.losses_of_a_boaster(SEED, mount=False)
