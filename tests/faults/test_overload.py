"""Overload: what is too much is refused with advice, the rest is answered, and it passes."""

from __future__ import annotations

from tests.faults import overload


def test_too_much_is_refused_and_the_rest_is_answered() -> None:
    """Far past capacity calls are answered or refused; at half of it all are answered again."""
    seed = 20_261_129
    ridden = overload.ride((8.0,), 3.0, seed)
    seen = ridden.steps[8.0]
    assert ridden.crashes == 0, seed
    assert seen.codes["OK"] > 0, (seed, seen.codes)
    assert seen.codes["Overloaded"] > 0, (seed, seen.codes)
    assert set(seen.codes) <= {"OK", "Overloaded", "DeadlineExceeded"}, (seed, seen.codes)
    assert ridden.back.codes["OK"] > 0, (seed, ridden.back.codes)


def test_without_a_bound_on_the_queue_answers_come_too_late() -> None:
    """The positive control: the same load, let in whole, outwaits the callers' patience."""
    seen = overload.without_bounds(3.0, 1)
    assert seen.codes["Overloaded"] == 0, seen.codes
    assert max(seen.answered_s) > overload.TIMEOUT_S, seen.codes
