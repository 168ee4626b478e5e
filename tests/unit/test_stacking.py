"""Which searches travel together: those that differ in their queries alone."""

from __future__ import annotations

import numpy as np

from fanlight.examples import examples
from fanlight.model import SearchRequest
from fanlight.queries import Exclusions, Slate
from fanlight.stacking import kind_of, size_of

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
