"""Nonsense in decoders, in short; `make fuzz` is the long form."""

from __future__ import annotations

import pytest
from tests.faults import decoders
from tests.faults.decoders import TARGETS, Target, child, only_ours

from fanlight.errors import Corruption

SEED = 20261129
INPUTS = {"messages": 3_000, "segments": 400, "items": 150, "logs": 150, "configs": 150}


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_only_our_own_errors_come_out(name: str) -> None:
    """Sound inputs that were taken apart are decoded or refused, and nothing crashes or hangs."""
    found = child(name, SEED, 60, INPUTS[name])
    print(f"seed {SEED}: {found}")  # noqa: T201
    assert not found["faults"]
    assert "crash" not in found, found["crash"]
    assert 0 < found["refused"] < found["trials"]


def test_another_error_is_seen() -> None:
    """A decoder that raises what is not ours is not taken for one that refuses."""

    def decode(data: bytes) -> None:
        raise Corruption("ours") if data else KeyError("not ours")

    assert only_ours(Target([], decode), b"x")
    with pytest.raises(KeyError):
        only_ours(Target([], decode), b"")


def test_a_crash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is ended by a signal, or by an exception at the start, is a crash."""
    found = child("no such target", SEED, 1, 1)
    assert "KeyError" in found["crash"]
    monkeypatch.setattr(decoders, "TARGETS", {})
