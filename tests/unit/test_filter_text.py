"""Filters are written as people write them."""

from __future__ import annotations

import pytest

from fanlight import F
from fanlight.filter_text import text_of
from fanlight.filters import Filter

_YEAR, _GENRE = F("year"), F("genre")


@pytest.mark.parametrize(
    ("filter", "text"),
    [
        (_GENRE == "drama", 'genre == "drama"'),
        (F("in stock") == True, "in stock == true"),  # noqa: E712  it is a filter
        (_YEAR.is_in([3, 1, 2]), "year is in 1, 2, 3"),
        (_YEAR.is_in(range(10_000)), "year is in 0, 1, 2, 3, 4, 5, 6, 7, 9,992 more"),
        (_YEAR >= 1990, "year >= 1990"),
        (_YEAR.range(gte=1990, lt=2000.5), "year >= 1990 and < 2000.5"),
        (_YEAR.exists(), "year exists"),
        (_GENRE != "a\n", '~(genre == "a\\n")'),
        ((_YEAR > 1) & (_YEAR < 3), "(year > 1) & (year < 3)"),
        (~((_YEAR > 1) | (_GENRE != "a")), '~((year > 1) | ~(genre == "a"))'),
    ],
)
def test_text(filter: Filter, text: str) -> None:
    assert text_of(filter) == text
