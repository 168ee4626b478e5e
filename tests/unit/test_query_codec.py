"""The parts of a query survive the wire, and malformed ones are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fanlight import F
from fanlight.errors import InvalidRequest
from fanlight.examples import as_exclusions, combine, examples, interest, interests
from fanlight.model import Coverage, Explanation, Facets, Hits, Outcome, SearchRequest
from fanlight.queries import Cap, Exclusions, Floor, Interest, Mmr, Query, Slate
from fanlight.v1 import queries_pb2, search_pb2
from fanlight.wire.answer_codec import (
    from_explain,
    from_explanation,
    from_facets,
    to_explanation,
    to_facets,
)
from fanlight.wire.codec import from_hits, from_search, to_hits, to_ids, to_search
from fanlight.wire.query_codec import fill_exclusions, from_exclusions, from_slate, to_slate

COVERAGE = Coverage(3, 3, 9, 9)
VECTOR = np.array([0.5, -1, 2], dtype=np.float32)
QUERIES = [
    examples([1, (2, 0.25)], [(VECTOR, 3.0)]),
    examples(["a", "b"], keep=True),
    combine([(VECTOR, -2.0)]),
    interests(interest(VECTOR, weight=0.5, min_share=0.25, max_share=0.75), interest([7, 8])),
]


def columns(interest: Interest) -> list[object]:
    """Show an interest so that two can be compared."""
    arrays = (interest.ids, interest.id_weights, interest.vectors, interest.vector_weights)
    shown: list[object] = [None if a is None else a.tolist() for a in arrays]
    return [*shown, interest.weight, interest.min_share, interest.max_share]


@pytest.mark.parametrize("query", QUERIES)
def test_queries_by_meaning_survive(query: Query) -> None:
    sent = SearchRequest("movies", None, 5, composed=(query, query))
    read = from_search(search_pb2.SearchRequest.FromString(to_search(sent).SerializeToString()))
    assert read.composed is not None
    assert len(read.composed) == 2
    for each in read.composed:
        assert each.keep_examples == query.keep_examples
        assert list(map(columns, each.interests)) == list(map(columns, query.interests))


@pytest.mark.parametrize(
    "slate",
    [
        Slate(),
        Slate(caps=[Cap("seller", 2), Cap("brand", 1)], near_duplicate=0.5),
        Slate(floors=[Floor(F("age") < 7, share=0.5), Floor(F("new") == True, count=3)]),  # noqa: E712  a filter
        Slate(mmr=Mmr(0.5, 17)),
        Slate(mmr=Mmr(0.0), near_duplicate=0.0),
    ],
)
def test_slates_survive(slate: Slate) -> None:
    sent = queries_pb2.Slate.FromString(to_slate(slate).SerializeToString())
    assert from_slate(sent) == slate


def test_a_floor_without_a_least_is_judged_not_guessed() -> None:
    """It reads as one that has neither, which the rules refuse."""
    floor = Floor(F("age") < 7)
    assert from_slate(to_slate(Slate(floors=[floor]))).floors == (floor,)


INT64 = np.iinfo(np.int64)
DENSE = list(range(-5_000, 5_000))


@pytest.mark.parametrize(
    "ids",
    [
        None,
        [1, 2, 3],
        ["b", "a"],
        ["b", "", "a", "a", "\u20ac", "b" * 512],
        ["b", "a\0b"],
        DENSE,
        [INT64.min, *DENSE, INT64.max],
        *([*DENSE, DENSE[-1] + gap] for gap in (255, 256, 65_535, 65_536, 2**32)),
        [n << 40 for n in reversed(DENSE)],
    ],
    ids=lambda ids: "none" if ids is None else f"{len(ids)} to {ids[-1]}",
)
def test_exclusions_survive(ids: list[int] | list[str] | None) -> None:
    """Few and many, and gaps of every width."""
    exclude = as_exclusions(ids, ["seen", "blocked"])
    request = SearchRequest("movies", VECTOR[None], 5, exclude=exclude)
    read = from_search(to_search(request)).exclude
    assert read is not None
    assert read.sets == ("seen", "blocked")
    column = read.column()
    assert (None if column is None else column.tolist()) == ids
    assert read.n_ids == (0 if ids is None else len(ids))


def test_no_exclusions_are_not_the_same_as_none() -> None:
    """The answer to the first says how many were left out: 0."""
    request = SearchRequest("movies", VECTOR[None], 5, exclude=as_exclusions([], []))
    assert from_search(to_search(request)).exclude is not None
    assert from_search(to_search(replace(request, exclude=None))).exclude is None


def test_excluded_ids_are_a_set() -> None:
    """In whatever order and however often they are given."""
    given = np.random.default_rng(3).permutation(DENSE * 2)
    exclude = as_exclusions(given, [])
    assert exclude is not None
    column = exclude.column()
    assert column is not None
    assert column.tolist() == DENSE


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        (["b", "a"], True),
        (("b", "a"), True),
        (dict.fromkeys(["b", "a"]), True),
        (np.array(["b", "a"], dtype=object), True),
        (np.array(["b", "a"]), True),
        (["b\0", "a"], False),
        (np.array([3, 1], dtype=object), False),
        ([3, 1], False),
        ([], False),
    ],
    ids=repr,
)
def test_strings_travel_in_one_piece(given: object, joined: bool) -> None:
    """Whatever they come in; integers do not, nor strings of which one holds what ends each."""
    exclude = as_exclusions(given, [])  # type: ignore[arg-type]
    assert exclude is not None
    sent = _sent(exclude)
    assert (sent.joined if sent.HasField("joined") else None) == (b"b\0a\0" if joined else None)


@pytest.mark.parametrize("given", [["b", 1], ["b", None], ["b", b"a"], ["b", "\ud800"], [["b"]]])
def test_what_is_no_text_cannot_be_joined(given: list[object]) -> None:
    with pytest.raises(InvalidRequest, match="ids"):
        as_exclusions(given, [])  # type: ignore[arg-type]


def _sent(exclude: Exclusions) -> queries_pb2.Exclusions:
    message = queries_pb2.Exclusions()
    fill_exclusions(message, exclude)
    return message


def test_ids_of_a_column_that_does_not_ascend_travel_as_they_are() -> None:
    """As another client may send them on."""
    ids = np.random.default_rng(4).permutation(DENSE * 2)
    read = from_exclusions(_sent(Exclusions.of(ids)))
    assert read.ids is not None
    np.testing.assert_array_equal(np.unique(read.ids), DENSE)


@pytest.mark.parametrize(
    ("catalogue", "apart", "most"),
    [
        (1_000_000, 1, 201_000),
        (260_000, 1_000, 201_000),
        (260_000, 1_000_003, 801_000),
    ],
)
def test_many_excluded_ids_take_few_bytes(catalogue: int, apart: int, most: int) -> None:
    """100,000 of a catalogue of a million not their 800 KB, and others no more than that."""
    ids = np.random.default_rng(5).choice(catalogue, 100_000, replace=False) * np.int64(apart)
    exclude = as_exclusions(ids, [])
    assert exclude is not None
    assert _sent(exclude).ByteSize() < most


def test_what_is_sent_is_what_was_given() -> None:
    """Though the caller's array changes before it is sent, in whatever form that is."""
    for given in (np.array(DENSE), np.array(DENSE[::-1]), np.array(DENSE) << 40, np.arange(3)):
        wanted = np.sort(given)
        exclude = as_exclusions(given, [])
        given[:] = 0
        assert exclude is not None
        column = exclude.column()
        assert column is not None
        np.testing.assert_array_equal(np.sort(column), wanted)


def test_what_an_answer_says_besides_survives() -> None:
    """Excluded, missing ids, interests and unmet rules, with padding and without."""
    hits = Hits(
        np.array([[4, 5], [6, -1]]),
        np.array([[1, 0.5], [0.25, np.nan]], dtype=np.float32),
        np.array([2, 1]),
        COVERAGE,
        excluded=12,
        missing_ids={1: np.array([9, 8])},
        interests=np.array([[0, 1], [2, -1]]),
        unmet={0: ("floor 0: 1 of 2", "limit")},
    )
    read = from_hits(to_hits(hits), 2)
    assert (read.excluded, read.unmet) == (12, hits.unmet)
    assert {row: ids.tolist() for row, ids in read.missing_ids.items()} == {1: [9, 8]}
    assert read.interests is not None
    np.testing.assert_array_equal(read.interests, hits.interests)
    plain = from_hits(to_hits(Hits(hits.ids, hits.scores, hits.counts, COVERAGE)), 2)
    assert (plain.excluded, plain.interests) == (None, None)


@pytest.mark.parametrize(
    "values", [(), ("a", "b"), (3, -4), (0.5, 2.0), (True, False)], ids=lambda v: str(v)
)
def test_facets_survive(values: tuple[str | int | float | bool, ...]) -> None:
    facets = Facets(values, np.arange(len(values))[::-1], 7, 40)
    read, coverage = from_facets(to_facets(facets, COVERAGE))
    assert (read.values, read.distinct, read.items) == (values, 7, 40)
    assert list(map(type, read.values)) == list(map(type, values))
    np.testing.assert_array_equal(read.counts, facets.counts)
    assert coverage == COVERAGE


@pytest.mark.parametrize("place", [None, 0, 3])
def test_explanations_survive(place: int | None) -> None:
    outcomes = (Outcome("filter: x", True), Outcome("set seen", False))
    last = None if place is None else 0.25
    explanation = Explanation(
        True, 0.5, 4, 3, place, last, 1, "shard-1", "7.seg", 99, outcomes, COVERAGE
    )
    assert from_explanation(to_explanation(explanation)) == explanation


def test_malformed_parts_are_refused() -> None:
    """Weights that are no floats, and an explanation of no item, or of several."""
    weights = queries_pb2.Interest(ids=to_ids(np.array([1])), id_weights=b"abc")
    message = to_search(SearchRequest("movies", VECTOR[None], 5))
    message.composed.queries.add().interests.append(weights)
    with pytest.raises(InvalidRequest, match="weights"):
        from_search(message)
    search = to_search(SearchRequest("movies", VECTOR[None], 5))
    for ids in ([], [1, 2]):
        request = search_pb2.ExplainRequest(search=search, id=to_ids(np.array(ids, dtype=np.int64)))
        with pytest.raises(InvalidRequest, match="1 id"):
            from_explain(request)
