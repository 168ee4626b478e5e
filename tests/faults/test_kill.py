"""What is acknowledged survives kill -9; see `tests.faults.kill`."""

from __future__ import annotations

import numpy as np
import pytest
from tests.faults import kill
from tests.faults.record import Faults, Record, Scan, vectors_of

SEED = 20261129


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost() -> None:
    """Shards and router are killed while writing: no item is lost, stale, phantom or twice."""
    outcome = kill.killed(SEED, lambda tally: tally.kills >= 4)
    assert outcome.failures == 0, outcome
    assert outcome.trials >= 4
    assert outcome.acknowledged > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_acknowledges_too_early_is_caught() -> None:
    """The trials see lost writes where there are some."""
    assert "in 0 kills" not in kill.caught(SEED)


def scan_of(ids: list[int], versions: list[int]) -> Scan:
    numbers, states = np.array(ids, np.int64), np.array(versions, np.int64)
    return Scan(numbers, vectors_of(numbers, states), states)


def record() -> Record:
    """Make the record of six ids: 0 to 3 written at version 1, 4 deleted since, 5 never written."""
    made = Record(6)
    ids = np.arange(5)
    made.acknowledge(ids, made.begin(ids), alive=True)
    made.acknowledge(ids[4:], made.begin(ids[4:]), alive=False)
    return made


def found(scan: Scan, compared: Record) -> Faults:
    faults = Faults()
    compared.compare(scan, faults)
    return faults


def test_what_was_acknowledged_is_no_fault() -> None:
    assert found(scan_of([3, 1, 0, 2], [1, 1, 1, 1]), record()).total == 0


def test_each_kind_of_fault_is_seen() -> None:
    """Gone, older, dug up, invented, twice, mixed up: each is counted as what it is."""
    compared = record()
    newer = np.array([1])
    compared.acknowledge(newer, compared.begin(newer), alive=True)
    scan = scan_of([0, 0, 1, 2, 4, 9, 5], [1, 1, 1, 7, 1, 1, 1])
    faults = found(scan, compared)
    assert (faults.lost, faults.stale, faults.duplicate) == (1, 1, 1)
    assert faults.phantom == 4  # 2 in a state of the future, 4 deleted, 5 and 9 never written
    mixed = Scan(scan.ids[:1], scan.vectors[2:3], scan.versions[:1])
    assert found(mixed, record()).wrong == 1


@pytest.mark.parametrize("happened", [True, False])
def test_a_write_in_doubt_may_have_happened_or_not(happened: bool) -> None:
    """Both states are right until a scan has shown one; from then on that one is."""
    compared = record()
    both = np.array([0, 4])
    compared.doubt(both, compared.begin(both), alive=True)
    shown = (
        scan_of([0, 1, 2, 3, 4], [2, 1, 1, 1, 3]) if happened else scan_of([0, 1, 2, 3], [1] * 4)
    )
    other = (
        scan_of([0, 1, 2, 3], [1] * 4) if happened else scan_of([0, 1, 2, 3, 4], [2, 1, 1, 1, 3])
    )
    assert found(shown, compared).total == 0
    assert found(shown, compared).total == 0
    assert found(other, compared).total == 2


def test_a_deletion_in_doubt_may_have_happened_or_not() -> None:
    compared = record()
    one = np.array([2])
    compared.doubt(one, compared.begin(one), alive=False)
    assert found(scan_of([0, 1, 3], [1, 1, 1]), compared).total == 0
