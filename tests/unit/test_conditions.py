"""What users write as filters, and what is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fanlight import field
from fanlight.conditions import as_filter
from fanlight.errors import InvalidRequest
from fanlight.filters import AllOf, AnyOf, Exists, FieldType, Filter, IsIn, Not, Range

DRAMA = IsIn("genre", FieldType.KEYWORD, ("drama",))
NINETIES = Range("year", gte=1990, lt=2000)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (field("genre") == "drama", DRAMA),
        (field("genre") != "drama", Not(DRAMA)),
        (field("genre") == np.str_("drama"), DRAMA),
        (field("genre").is_in(["b", "a", "b"]), IsIn("genre", FieldType.KEYWORD, ("a", "b"))),
        (field("genre").is_in(np.array(["a"])), IsIn("genre", FieldType.KEYWORD, ("a",))),
        (field("year") == np.int32(7), IsIn("year", FieldType.INT, (7,))),
        (field("year").is_in({3, 1}), IsIn("year", FieldType.INT, (1, 3))),
        (field("year").is_in(np.arange(2)), IsIn("year", FieldType.INT, (0, 1))),
        (field("score") == 0.5, IsIn("score", FieldType.FLOAT, (0.5,))),
        (field("score").is_in([2, 0.5]), IsIn("score", FieldType.FLOAT, (0.5, 2.0))),
        (field("new") == True, IsIn("new", FieldType.BOOL, (True,))),  # noqa: E712
        (field("new") == np.False_, IsIn("new", FieldType.BOOL, (False,))),
        (field("year") >= 1990, Range("year", gte=1990)),
        (field("year") > 1990, Range("year", gt=1990)),
        (field("year") <= 1.5, Range("year", lte=1.5)),
        (field("year") < 1990, Range("year", lt=1990)),
        (field("year").range(gte=1990, lt=2000), NINETIES),
        (field("year").exists(), Exists("year")),
        (~~field("year").exists(), Exists("year")),
        (DRAMA & NINETIES & Exists("a"), AllOf((DRAMA, NINETIES, Exists("a")))),
        (DRAMA | (NINETIES | Exists("a")), AnyOf((DRAMA, NINETIES, Exists("a")))),
        (DRAMA | NINETIES & ~DRAMA, AnyOf((DRAMA, AllOf((NINETIES, Not(DRAMA)))))),
    ],
)
def test_comparing_a_field_makes_a_filter(written: Filter, meant: Filter) -> None:
    """Each way to write a condition gives the value that says the same, types included."""
    assert written == meant
    assert repr(written) == repr(meant)
    assert hash(written) == hash(meant)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (DRAMA, DRAMA),
        ({"genre": "drama"}, DRAMA),
        ({"genre": ["drama"]}, DRAMA),
        ({"year": {"gte": 1990, "lt": 2000}}, NINETIES),
        ({"genre": "drama", "year": {"gte": 1990, "lt": 2000}}, AllOf((DRAMA, NINETIES))),
        ({"genre": {"in": ["drama"]}}, DRAMA),
        ({"genre": {"not": "drama"}}, Not(DRAMA)),
        ({"genre": {"exists": True, "not": ["drama"]}}, AllOf((Exists("genre"), Not(DRAMA)))),
        ({"genre": {"exists": False}}, Not(Exists("genre"))),
        ({"year": {"not": {"gte": 1990, "lt": 2000}}}, Not(NINETIES)),
    ],
)
def test_a_dict_makes_a_filter(written: Any, meant: Filter) -> None:
    """The short form says the same as the comparisons; all its conditions must hold."""
    assert as_filter(written) == meant


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "filter: expected at least 1 condition, got an empty dict"),
        ([("genre", "drama")], "filter: expected a filter or a dict of conditions, got a list"),
        ({7: "drama"}, "filter: expected a string, got a int"),
        ({"genre": None}, "filter.genre: expected strings, numbers or booleans, got null"),
        ({"genre": b"drama"}, "filter.genre: expected strings, numbers or booleans, got a bytes"),
        ({"genre": []}, "filter.genre: expected at least 1 value, got 0"),
        ({"genre": ["drama", 7]}, "filter.genre: expected values of one type, got int and str"),
        ({"genre": [True, 1]}, "filter.genre: expected values of one type, got bool and int"),
        ({"genre": {"in": "drama"}}, "filter.genre: expected a list of values, got a str"),
        ({"genre": "\ud800"}, "filter.genre: expected text with a UTF-8 form"),
        ({"\ud800": "drama"}, "filter: expected text with a UTF-8 form"),
        ({"genre": {}}, "filter.genre: expected keys among gte, gt, lte, lt, in, exists, not"),
        ({"genre": {"eq": 1}}, "got the key 'eq'"),
        ({"genre": {"exists": 1}}, "filter.genre: expected exists to be a boolean, got a int"),
        ({"year": {"gte": None}}, "filter.year: expected numbers, got null"),
        ({"year": {"gte": "1990"}}, "filter.year: expected numbers, got a str"),
        ({"year": {"gte": True}}, "filter.year: expected numbers, got a bool"),
        ({"year": float("nan")}, "filter.year: expected finite numbers, got nan"),
        ({"year": {"lt": float("inf")}}, "filter.year: expected finite numbers, got inf"),
        ({"year": 2**63}, "filter.year: expected integers that fit int64, got 9223372036854775808"),
        ({"year": [2**53 + 1, 0.5]}, "filter.year: expected integers up to 2^53 beside floats"),
    ],
)
def test_a_filter_that_cannot_travel_is_refused(written: Any, words: str) -> None:
    """The error names the field, what was expected and what came."""
    with pytest.raises(InvalidRequest) as caught:
        as_filter(written)
    assert words in caught.value.message


def test_a_range_needs_a_bound() -> None:
    """A range without bounds is a mistake, not every item."""
    with pytest.raises(InvalidRequest, match=r"filter\.year: expected at least one of gte"):
        field("year").range()


def test_filters_combine_with_filters_only() -> None:
    """The dict form is for whole filters."""
    with pytest.raises(InvalidRequest, match="filter: expected another filter, got a dict"):
        DRAMA & {"year": 1990}  # type: ignore[operator]


@pytest.mark.parametrize(
    "careless",
    [
        lambda: DRAMA and NINETIES,  # type: ignore[redundant-expr]
        lambda: DRAMA or NINETIES,  # type: ignore[redundant-expr]
        lambda: not DRAMA,  # pyright: ignore[reportGeneralTypeIssues]
        lambda: 1990 <= field("year") < 2000,
    ],
)
def test_what_would_lose_a_condition_is_refused(careless: Any) -> None:
    """Python evaluates `and`, `or`, `not` and chains by truth, and keeps one side alone."""
    with pytest.raises(TypeError, match=r"combine filters with & \| ~"):
        careless()


def test_filters_too_deep_to_travel_are_refused() -> None:
    """A filter built by a loop ends in an error, not in a crash of a parser."""
    deep: Filter = DRAMA
    for _ in range(5_000):
        deep = Not(AllOf((deep,)))
    with pytest.raises(InvalidRequest, match="at most 32 filters inside each other, got 10001"):
        as_filter(deep)
