"""Filterable fields: columns of heads and of segments, held to plain Python over the JSON."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tests.matching import accepts

from fanlight.conditions import field
from fanlight.errors import Corruption
from fanlight.fields import read_fields
from fanlight.filters import AllOf, AnyOf, Exists, FieldType, Filter, IsIn, Not, Range
from fanlight.model import Rows
from fanlight_server.index import columns
from fanlight_server.index.bits import Bits, count, unpacked
from fanlight_server.index.field_parts import from_parts, to_parts
from fanlight_server.index.fields import Fields, GrowingFields, KeptBitmaps, merge_fields

TYPES = {
    "genre": FieldType.KEYWORD,
    "score": FieldType.FLOAT,
    "sold": FieldType.BOOL,
    "year": FieldType.INT,
}
Payloads = Sequence[dict[str, Any]]

# Few distinct values, so that conditions meet them; and the extremes of each type.
WORDS = st.sampled_from(["", "a", "b", "ab", "\0", "ä", "🜚", "long enough for two words"])
INTS = st.sampled_from([0, 1, 2, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
REALS = st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, -1.5, 1e300, -1e300, 5e-324, float(2**53)])
PAYLOADS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "genre": st.none() | WORDS | st.lists(WORDS, max_size=3),
            "score": st.none() | REALS | INTS.filter(lambda number: float(number) == number),
            "sold": st.none() | st.booleans(),
            "year": st.none() | INTS | st.lists(INTS, max_size=3),
            "other": st.just({"genre": "a"}),
        },
    ),
    max_size=20,
)


def among(name: str, type_: FieldType, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    """Draw conditions for one of several values."""
    several = st.sets(values, min_size=1, max_size=4)
    return several.map(lambda drawn: IsIn(name, type_, tuple(sorted(drawn))))


def within(name: str) -> st.SearchStrategy[Filter]:
    """Draw ranges of a number, with bounds of either kind."""
    bounds = st.none() | INTS | REALS
    return st.builds(Range, st.just(name), bounds, bounds, bounds, bounds)


CLAUSES = (
    among("genre", FieldType.KEYWORD, WORDS | st.just("unknown"))
    | among("sold", FieldType.BOOL, st.booleans())
    | among("year", FieldType.INT, INTS)
    | among("year", FieldType.FLOAT, REALS)
    | among("score", FieldType.FLOAT, REALS)
    | among("score", FieldType.INT, INTS)
    | within("year")
    | within("score")
    | st.sampled_from(sorted(TYPES)).map(Exists)
)
FILTERS = st.recursive(
    CLAUSES,
    lambda inner: (
        st.builds(AllOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(AnyOf, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Not, inner)
    ),
    max_leaves=5,
)


def head_of(payloads: Payloads) -> Fields:
    """Put payloads into a head, in runs of three."""
    growing = GrowingFields(TYPES)
    for start in range(0, len(payloads), 3):
        run = [read_fields(payload, TYPES) for payload in payloads[start : start + 3]]
        growing.append(len(run), run)
    return growing.shown()


def merged(parts: Sequence[Fields], places: Sequence[Rows]) -> Fields:
    rows = 1 + max((int(place.max(initial=-1)) for place in places), default=-1)
    return merge_fields(parts, places, rows)


def segment_of(payloads: Payloads) -> Fields:
    return merged([head_of(payloads)], [np.arange(len(payloads))])


def reopened(fields: Fields) -> Fields:
    """Write fields as the parts of a file, and read them."""
    parts = {name: part.reshape(-1).view(np.uint8) for name, part in to_parts(fields).items()}
    return from_parts(TYPES, parts, fields.rows)


def rows_in(bits: Bits, n: int) -> list[int]:
    """List the rows of a bitmap, and hold its last bits to be clear."""
    assert bits.dtype == np.uint8
    assert len(bits) == (n + 7) // 8
    assert not np.unpackbits(bits, bitorder="little")[n:].any()
    rows: list[int] = np.flatnonzero(unpacked(bits, n)).tolist()
    assert count(bits) == len(rows)
    return rows


def expected(filter: Filter, payloads: Payloads) -> list[int]:
    return [row for row, payload in enumerate(payloads) if accepts(filter, payload)]


@given(PAYLOADS, st.lists(FILTERS, min_size=1, max_size=4))
def test_a_head_allows_what_the_filter_accepts(payloads: Payloads, filters: list[Filter]) -> None:
    """Rows appended in several runs are compared one by one."""
    head = head_of(payloads)
    for filter in filters:
        assert rows_in(head.allowed(filter), len(payloads)) == expected(filter, payloads)


@given(PAYLOADS, st.lists(FILTERS, min_size=1, max_size=4))
def test_a_segment_allows_what_the_filter_accepts(
    payloads: Payloads, filters: list[Filter]
) -> None:
    """Sorted columns give the same rows, before and after a file, first and again."""
    segment = segment_of(payloads)
    with patch.multiple(columns, _RUNS=4, _RUN_MIN=2):  # as if the rows were many
        for fields in (segment, reopened(segment)):
            for filter in (*filters, *filters):
                assert rows_in(fields.allowed(filter), len(payloads)) == expected(filter, payloads)


@given(st.lists(PAYLOADS, min_size=1, max_size=4), st.randoms(), st.data())
def test_a_merge_moves_every_value_with_its_row(
    parts: list[Payloads], random: Any, data: st.DataObject
) -> None:
    """Rows that are left out take their values with them, and the others keep theirs."""
    fields = [(head_of if random.random() < 0.5 else segment_of)(part) for part in parts]
    whole = [payload for part in parts for payload in part]
    kept = [row for row in range(len(whole)) if random.random() < 0.8]
    random.shuffle(kept)
    place = np.full(len(whole), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    cuts = np.cumsum([len(part) for part in parts])[:-1]
    segment = merge_fields(fields, np.split(place, cuts), len(kept))
    again = merge_fields([reopened(segment)], [np.arange(len(kept))], len(kept))
    payloads = [whole[row] for row in kept]
    for _ in range(3):
        filter = data.draw(FILTERS)
        for merge in (segment, again):
            assert rows_in(merge.allowed(filter), len(kept)) == expected(filter, payloads)


@given(PAYLOADS)
def test_values_without_rows_are_forgotten(payloads: Payloads) -> None:
    """What only rows that are left out had takes no room in the segment."""
    nothing = np.full(len(payloads), -1, dtype=np.int64)
    parts = to_parts(merge_fields([segment_of(payloads)], [nothing], 0))
    assert sum(part.size for name, part in parts.items() if "bounds" not in name) == 1
    assert parts["field0_key_offsets"].tolist() == [0]


def test_a_view_of_a_head_never_changes() -> None:
    """What was shown stays, whatever is appended, also when arrays had to grow."""
    payloads = [{"genre": f"g{row % 7}", "year": [row, -row], "sold": True} for row in range(500)]
    growing = GrowingFields(TYPES)
    filter = field("genre").is_in(["g3", "g5"]) & (field("year") <= -20)
    views = []
    for row, payload in enumerate(payloads):
        views.append((row, growing.shown()))
        growing.append(1, [read_fields(payload, TYPES)])
    for rows, view in views[::13]:
        assert rows_in(view.allowed(filter), rows) == expected(filter, payloads[:rows])


def test_rows_without_fields_cost_nothing() -> None:
    """A collection that declares no field passes no values."""
    growing = GrowingFields({})
    growing.append(5, [])
    shown = growing.shown()
    assert (shown.rows, dict(shown.columns)) == (5, {})
    assert to_parts(merge_fields([shown], [np.arange(5)], 5)) == {}


def test_many_values_at_once() -> None:
    """A condition with thousands of values, most of them unknown, is one look at each."""
    payloads = [{"year": row, "genre": str(row)} for row in range(3_000)]
    odd = [row for row in range(3_000) if row % 2]
    for fields in (head_of(payloads), segment_of(payloads)):
        for filter in (
            field("year").is_in([*odd, *range(10_000, 15_000)]),
            field("genre").is_in([*map(str, odd), *(f"x{n}" for n in range(5_000))]),
        ):
            assert rows_in(fields.allowed(filter), 3_000) == odd


def test_wide_conditions_of_large_segments() -> None:
    """Most of the rows are not set one by one, and the answer is the same."""
    rng = np.random.default_rng(5)
    n = 12_000
    years = rng.integers(0, 2_000, (n, 2)).tolist()
    payloads: list[dict[str, Any]] = [
        {"year": pair if pair[0] % 3 else pair[0], "score": pair[1] / 7, "genre": f"g{pair[0] % 3}"}
        for pair in years
    ]
    segment = segment_of(payloads)
    lows = rng.integers(0, 1_500, 5).tolist()
    for low in lows:
        year = field("year").range(gte=low, lte=low + 500)
        for filter in (year, field("score") >= low / 7, (field("genre") == "g1") & ~year):
            assert rows_in(segment.allowed(filter), n) == expected(filter, payloads)


def test_few_bitmaps_are_kept() -> None:
    """A segment keeps the bitmaps used last, not those of every filter ever asked."""
    kept = KeptBitmaps(most=2)
    bits = np.zeros(1, dtype=np.uint8)
    a, b, c = (field("year") == value for value in range(3))
    kept.put(a, bits)
    kept.put(b, bits)
    assert kept.get(a) is bits
    kept.put(c, bits)
    assert kept.get(b) is None
    assert kept.get(a) is bits
    assert kept.get(c) is bits


def test_the_bitmap_of_a_long_list_is_not_kept() -> None:
    """What somebody has seen is asked once; it must not take the place of what many ask."""
    segment = segment_of([{"year": row} for row in range(10)])
    seen = field("year").is_in(range(300))
    assert rows_in(segment.allowed(~seen), 10) == []
    assert segment.kept is not None
    assert segment.kept.get(seen) is None
    assert segment.kept.get(~seen) is None


def test_many_threads_ask_one_segment() -> None:
    """Bitmaps are kept and dropped while others are asked for, and every answer is right."""
    payloads = [{"year": row % 100, "sold": row % 3 == 0} for row in range(1_000)]
    segment = segment_of(payloads)
    filters = [(field("year") < year) & (field("sold") == True) for year in range(100)]  # noqa: E712
    wanted = [expected(filter, payloads) for filter in filters]

    def ask(seed: int) -> None:
        for at in np.random.default_rng(seed).integers(0, 100, 200).tolist():
            assert rows_in(segment.allowed(filters[at]), 1_000) == wanted[at]

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ask, seed) for seed in range(4)]:
            done.result(60)


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("field0_key_offsets", lambda part: part[:-8]),
        ("field0_key_bytes", lambda part: part[:-1]),
        ("field1_keys", lambda part: part[:-8]),
        ("field2_bounds", lambda part: part[:-8]),
        ("field3_rows", lambda part: part[:-4]),
        ("field3_bounds", lambda part: part[:0]),
    ],
)
def test_parts_that_contradict_each_other_are_corrupt(part: str, damage: Any) -> None:
    """Parts of wrong lengths are refused before anybody reads them."""
    segment = segment_of([{"genre": "a", "score": 1, "sold": True, "year": 7}] * 3)
    parts = {name: whole.reshape(-1).view(np.uint8) for name, whole in to_parts(segment).items()}
    with pytest.raises(Corruption, match="the parts of a field contradict each other"):
        from_parts(TYPES, parts | {part: damage(parts[part])}, 3)


def test_the_same_filter_is_the_same_bitmap() -> None:
    """A filter asked again is not evaluated again, nor are the conditions inside another."""
    segment = segment_of([{"year": row} for row in range(10)])
    old = field("year") < 5
    assert segment.allowed(old) is segment.allowed(old)
    assert_array_equal(segment.allowed(~old), ~segment.allowed(old) & [255, 3])
    assert segment.kept is not None
    assert segment.kept.get(old) is segment.allowed(old)
