"""The hunt for an ef finds the cheapest, and intervals of recall hold what they say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlight.evaluation import Curve, Point, Tuning
from fanlight.evaluation.recall import interval, point_of
from fanlight.evaluation.tuning import hunt, rungs


def found(k: int, most: int, cheapest: int) -> tuple[int | None, list[int]]:
    """Hunt where the recall is 1 from `cheapest` on; give the result and what was measured."""
    hunted, asked = hunt(k, 0.9, most), list[int]()
    ef = next(hunted)
    while True:
        asked.append(ef)
        try:
            ef = hunted.send(float(ef >= cheapest))
        except StopIteration as stop:
            return stop.value, asked


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 9_500), st.integers(1, 12_000))
def test_the_cheapest_is_found(k: int, more: int, cheapest: int) -> None:
    """It reaches the target, nothing much below does, and few values were measured."""
    ef, asked = found(k, k + more, cheapest)
    assert all(k <= value <= k + more for value in asked)
    assert len(asked) == len(set(asked)) <= 40
    if cheapest > k + more:
        assert ef is None
        assert max(asked) == k + more
    else:
        assert ef is not None
        assert max(cheapest, k) <= ef <= max(cheapest, k) + max(1, ef // 16)


@given(st.integers(1, 10_000), st.integers(0, 90_000))
def test_rungs_climb(k: int, more: int) -> None:
    """They ascend from k to the most, and none is more than 1.5 times the one before, and one."""
    values = rungs(k, k + more)
    assert (values[0], values[-1]) == (k, k + more)
    assert all(a < b <= a * 1.5 + 1 for a, b in pairwise(values))


def test_intervals_cover() -> None:
    """Of samples whose hits stand or fall together, 95 % of the intervals hold the true mean."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(2_000):
        chances = rng.beta(19, 1, 300)
        low, high = interval(rng.binomial(10, chances) / 10, 10)
        held += low <= 0.95 <= high
    assert 0.93 <= held / 2_000 <= 0.97


def test_no_miss_is_no_certainty() -> None:
    """When all queries found all, the interval is that of misses which come one at a time.

    More queries make it narrower.
    """
    low, high = interval(np.ones(100), 10)
    assert high == 1.0
    assert low == pytest.approx(1 - 1.96**2 / (1_000 + 1.96**2), abs=5e-4)
    assert interval(np.ones(400), 10)[0] > low


def test_misses_together_say_less() -> None:
    """Ten hits missed by one query are one event, ten missed by ten are ten."""
    together, apart = np.ones(200), np.ones(200)
    together[0], apart[:10] = 0.0, 0.9
    assert together.mean() == pytest.approx(apart.mean())
    assert interval(together, 10)[0] < interval(apart, 10)[0] - 0.01


def test_nothing_to_find_says_nothing() -> None:
    """Queries of which none can find anything have found all, and prove nothing."""
    point = point_of(64, np.empty(0), 10, 9.0)
    assert (point.recall, point.low, point.high) == (1.0, 0.0, 1.0)


def test_a_tuning_says_what_it_found() -> None:
    """In one line: the choice and its interval, or that there is none."""
    points = (Point(10, 0.8, 0.78, 0.82, 5.0), Point(14, 0.97, 0.96, 0.98, 4.0))
    curve = Curve(10, 500, points, 1.0)
    good, bad = Tuning(0.95, curve, stored=True), Tuning(0.99, curve, stored=False)
    text = "recall@10 0.9700 (95 %: 0.9600 to 0.9800), of 500"
    assert (good.ef_search, good.recall) == (14, 0.97)
    assert str(good) == f"ef_search=14 gives {text} stored items"
    assert (bad.ef_search, bad.recall) == (None, 0.97)
    assert str(bad) == f"no ef_search reached 0.99: 14 gives {text} queries"
