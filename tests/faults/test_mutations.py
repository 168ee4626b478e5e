"""Malformed requests: every method says what is wrong with them, and nothing falls over."""

from __future__ import annotations

import asyncio

from tests.faults import mutations, seeds


def test_every_method_has_a_request_to_mutate() -> None:
    """A method that is added to the contract is mutated too."""
    assert set(seeds.SEEDS) == seeds.methods()


def test_malformed_requests_are_told_what_is_wrong() -> None:
    """No mutated request is answered UNKNOWN or INTERNAL, and no program ends."""
    seed = 20_261_129
    outcome = mutations.run(60, seed, requests=2_400)
    assert outcome.trials == 2_400
    assert outcome.acknowledged < outcome.trials, "some were malformed"
    assert outcome.failures == 0, (seed, outcome.notes)


def test_a_server_that_leaves_them_to_grpc_is_caught() -> None:
    """The positive control: the same requests find the fault where there is no guard."""
    bad = asyncio.run(mutations.unguarded(200, seed=1))
    assert sum(bad.values()) > 0
