"""Large answers: too many at once are refused, and one that never fits is told the limit."""

from __future__ import annotations

from tests.faults import large_answers


def test_answers_that_do_not_fit_at_once_are_refused() -> None:
    """Callers beyond the bound are refused, some are answered, and no process ends."""
    codes, _, died = large_answers.trial(1, large_answers.BOUND, callers=12, each=2)
    assert died == 0
    assert codes["OK"] > 0, codes
    assert codes["RESOURCE_EXHAUSTED"] > 0, codes
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}, codes


def test_without_the_bound_all_are_answered() -> None:
    """The positive control: it is the bound that refuses."""
    codes, _, _ = large_answers.trial(1, 1 << 40, callers=12, each=1)
    assert codes == {"OK": 12}


def test_what_never_fits_is_told_so() -> None:
    """An answer above the bound is refused with the name of the limit."""
    words = large_answers.never_fits(1)
    assert words.startswith("RESOURCE_EXHAUSTED"), words
    assert "bytes_in_flight" in words
