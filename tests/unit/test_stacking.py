"""Which searches travel together: those that differ in their queries alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fanlight.examples import examples
from fanlight.model import SearchRequest
from fanlight.queries import Exclusions, Slate
from fanlight.stacking import effort_of, kind_of, size_of

VECTORS = np.ones((2, 3), dtype=np.float32)


def test_equal_searches_are_of_one_kind() -> None:
    """Whatever their vectors; another k is another kind."""
    one, other = SearchRequest("c", VECTORS, 5), SearchRequest("c", 2 * VECTORS, 5)
    assert kind_of(one) == kind_of(other)
    assert kind_of(one) != kind_of(SearchRequest("c", VECTORS, 6))


def test_what_asks_for_more_than_the_nearest_is_alone() -> None:
    """Exclusions, rules and examples are one caller's, and equal to themselves only."""
    more = [
        SearchRequest("c", VECTORS, 5, exclude=Exclusions(None, ("seen",))),
        SearchRequest("c", VECTORS, 5, slate=Slate()),
        SearchRequest("c", None, 5, composed=(examples([1]), examples([2]))),
    ]
    for request in more:
        assert kind_of(request) != kind_of(request)
        assert size_of(request) == 2


def test_searches_that_exclude_about_as_many_ids_take_about_as_long() -> None:
    """Whichever ids they are; each is still alone, and sets tell nothing of the next."""
    plain = SearchRequest("c", VECTORS, 5)

    def excluding(n: int, sets: tuple[str, ...] = ()) -> SearchRequest:
        return replace(plain, exclude=Exclusions(np.arange(n), sets))

    assert effort_of(plain) == effort_of(replace(plain, vectors=2 * VECTORS))
    assert effort_of(excluding(1_000)) == effort_of(excluding(900))
    assert effort_of(excluding(1_000)) != effort_of(excluding(90_000))
    assert effort_of(excluding(1)) != effort_of(plain)
    assert kind_of(excluding(1)) != kind_of(excluding(1))
    for request in (excluding(1, ("seen",)), replace(plain, slate=Slate())):
        assert effort_of(request) != effort_of(request)
