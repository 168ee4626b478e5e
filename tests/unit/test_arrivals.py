"""When company is likely."""

from __future__ import annotations

import itertools

import pytest

from fanlight.wire.arrivals import Arrivals

WINDOW_S = 0.005


def arrivals(gaps_s: list[float], start_s: float = 1_000.0) -> Arrivals:
    subject = Arrivals(WINDOW_S)
    for at in itertools.accumulate(gaps_s, initial=start_s):
        subject.add(at)
    return subject


def test_the_first_may_be_the_first_of_many() -> None:
    """Nothing is known yet: company is waited for."""
    assert arrivals([]).are_frequent


@pytest.mark.parametrize("gap_s", [0.006, 0.02, 10.0])
def test_none_joins_those_that_come_seldom(gap_s: float) -> None:
    assert not arrivals([gap_s] * 20).are_frequent


@pytest.mark.parametrize("gap_s", [0.0, 0.001, 0.004])
def test_some_join_those_that_come_often(gap_s: float) -> None:
    assert arrivals([gap_s] * 20).are_frequent


def test_bursts_are_frequent_whatever_lies_between_them() -> None:
    """Eight callers who wait for their answers and ask again."""
    burst = [0.0] * 7 + [1.4]
    assert arrivals(burst * 5 + burst[:4]).are_frequent


def test_a_burst_after_a_quiet_hour_is_soon_seen() -> None:
    quiet = [60.0] * 60
    assert not arrivals(quiet).are_frequent
    assert arrivals(quiet + [0.0005] * 12).are_frequent
