"""Fields are changed while shards are killed; see `tests.faults.fields`."""

from __future__ import annotations

import pytest
from tests.faults import fields

SEED = 20261129

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_no_declaration_is_lost_and_no_answer_wrong() -> None:
    """Under writes, searches and kills."""
    outcome = fields.changed(SEED, lambda tally: tally.changes >= 4)
    assert outcome.failures == 0, outcome
    assert outcome.trials >= 4


def test_a_server_that_forgets_values_is_caught() -> None:
    """The trials see wrong answers where there are some."""
    assert "wrong answers" in fields.caught(SEED)
