"""What is refused, and with which words."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pieces import floats, ids_of

from fanlight.conditions import field
from fanlight.errors import FanlightError, InvalidRequest
from fanlight.filters import AllOf, AnyOf, FieldType, Filter, IsIn, Not, Range
from fanlight.limits import Limits
from fanlight.model import (
    CollectionSpec,
    Floats,
    IdColumn,
    IdType,
    ItemBatch,
    Metric,
    SearchRequest,
)
from fanlight.validation import (
    bad_id_rows,
    bad_item_rows,
    bad_vector_rows,
    check_items,
    check_search,
    check_spec,
    read_payloads,
)

LIMITS = Limits(
    k=50,
    ef_search=100,
    hits=120,
    batch_rows=8,
    dim=16,
    id_bytes=12,
    payload_bytes=40,
    fields=4,
    filter_depth=3,
    filter_clauses=3,
    filter_values=5,
)
FIELDS = {
    "genre": FieldType.KEYWORD,
    "year": FieldType.INT,
    "score": FieldType.FLOAT,
    "new": FieldType.BOOL,
}
SPEC = CollectionSpec("things", 4, filterable=FIELDS)


def fault(faults: dict[int, FanlightError], row: int) -> str:
    error = faults[row]
    assert isinstance(error, InvalidRequest)
    assert error.message == f"{error.field}: expected {error.expected}, got {error.got}"
    return error.message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (replace(SPEC, name=""), "name: expected 1 to 128 of"),
        (replace(SPEC, name="x" * 129), "name: expected 1 to 128 of"),
        (replace(SPEC, name="../other"), "got '../other'"),
        (replace(SPEC, name=".hidden"), "got '.hidden'"),
        (replace(SPEC, name="a/b"), "got 'a/b'"),
        (replace(SPEC, name="a@1"), "got 'a@1'"),
        (replace(SPEC, name="line\n"), "name: expected"),
        (replace(SPEC, name="ü"), "name: expected"),
        (replace(SPEC, dim=0), "dim: expected 1 to 16, got 0"),
        (replace(SPEC, dim=17), "dim: expected 1 to 16, got 17"),
        (replace(SPEC, m=1), "m: expected 2 to 128, got 1"),
        (replace(SPEC, m=129), "m: expected 2 to 128, got 129"),
        (replace(SPEC, ef_construction=3), "ef_construction: expected 4 to 4096, got 3"),
        (replace(SPEC, ef_construction=4097), "ef_construction: expected 4 to 4096, got 4097"),
        (replace(SPEC, filterable={"": FieldType.INT}), "filterable: expected names of 1 to 128"),
        (replace(SPEC, filterable={"ä" * 65: FieldType.INT}), "got one of 130"),
        (
            replace(SPEC, filterable=dict.fromkeys("abcde", FieldType.INT)),
            "filterable: expected at most 4 fields, got 5",
        ),
    ],
)
def test_a_collection_that_cannot_be_is_refused(spec: CollectionSpec, words: str) -> None:
    """The error names the parameter, what was expected and what came."""
    with pytest.raises(InvalidRequest) as caught:
        check_spec(spec, LIMITS)
    assert words in caught.value.message


@pytest.mark.parametrize("name", ["a", "0", "Films.2026_v-1", "x" * 128])
def test_a_good_name_is_taken(name: str) -> None:
    """Letters, digits, dots, dashes and underscores make a name."""
    check_spec(replace(SPEC, name=name), LIMITS)


def request(**changes: object) -> SearchRequest:
    return replace(SearchRequest("things", floats(1, 2, 4), 5), **changes)  # type: ignore[arg-type]  # checked by dataclass


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": 0}, "k: expected 1 to 50, got 0"),
        ({"k": -3}, "k: expected 1 to 50, got -3"),
        ({"k": 51}, "k: expected 1 to 50, got 51"),
        ({"ef_search": 0}, "ef_search: expected 1 to 100, got 0"),
        ({"ef_search": 101}, "ef_search: expected 1 to 100, got 101"),
        ({"vectors": floats(1, 0, 4)}, "queries: expected 1 to 8, got 0"),
        ({"vectors": floats(1, 9, 4)}, "queries: expected 1 to 8, got 9"),
        ({"vectors": None}, "queries: expected 1 to 8, got 0"),
        ({"vectors": floats(1, 8, 4), "k": 16}, "got 8 x 16"),
        ({"vectors": floats(1, 2, 5)}, "vectors: expected dimension 4, got 5"),
        ({"vectors": floats(1, 2, 3)}, "vectors: expected dimension 4, got 3"),
        (
            {"vectors": None, "ids": ids_of(range(2), IdType.STRING)},
            "ids: expected int64 ids, got string ids",
        ),
        ({"min_coverage": 1.5}, "min_coverage: expected 0 to 1, got 1.5"),
        ({"min_coverage": -0.1}, "min_coverage: expected 0 to 1, got -0.1"),
        ({"min_coverage": float("nan")}, "min_coverage: expected 0 to 1, got nan"),
        ({"score_threshold": float("nan")}, "score_threshold: expected a finite number, got nan"),
        ({"score_threshold": float("inf")}, "score_threshold: expected a finite number, got inf"),
    ],
)
def test_a_search_out_of_range_is_refused(changes: dict[str, object], words: str) -> None:
    """Each parameter out of range is refused by name, with its range and what came."""
    with pytest.raises(InvalidRequest) as caught:
        check_search(request(**changes), SPEC, LIMITS)
    assert words in caught.value.message


GENRE, YEAR, SCORE, NEW = map(field, FIELDS)


@pytest.mark.parametrize(
    ("filter", "words"),
    [
        (field("gender") == "f", "filter.gender: expected a filterable field (genre, new, "),
        (GENRE == 3, "filter.genre: expected strings (the field is keyword), got numbers"),
        (YEAR == "1990", "filter.year: expected numbers (the field is int), got strings"),
        (YEAR == True, "filter.year: expected numbers (the field is int), got booleans"),  # noqa: E712
        (SCORE == "high", "filter.score: expected numbers (the field is float), got strings"),
        (NEW == 1, "filter.new: expected booleans (the field is bool), got numbers"),
        (NEW > 0, "filter.new: expected booleans (the field is bool), got bounds"),
        (GENRE > 0, "filter.genre: expected strings (the field is keyword), got bounds"),
        (YEAR.is_in(range(6)), "filter: expected at most 5 values, got 6"),
        (YEAR.is_in(range(3)) & GENRE.is_in(["a", "b", "c"]), "at most 5 values"),
        (NEW.exists() & YEAR.exists() & GENRE.exists() & SCORE.exists(), "at most 3 conditions"),
        (~(NEW.exists() & ~(YEAR.exists() | GENRE.exists())), "at most 3 filters inside each"),
        (AllOf(()), "filter: expected at least 1 filter in each list, got 0"),
        (Not(AnyOf(())), "filter: expected at least 1 filter in each list, got 0"),
        (IsIn("year", FieldType.INT, ()), "filter.year: expected at least 1 value, got 0"),
        (Range("year"), "filter.year: expected at least one of gte, gt, lte and lt, got none"),
        (Range("year", lt=float("nan")), "filter.year: expected finite numbers, got nan"),
        (IsIn("score", FieldType.FLOAT, (float("inf"),)), "filter.score: expected finite"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(filter: Filter, words: str) -> None:
    """The error names the field or the limit, what was expected and what came."""
    with pytest.raises(InvalidRequest) as caught:
        check_search(request(filter=filter), SPEC, LIMITS)
    assert words in caught.value.message


@pytest.mark.parametrize(
    "filter",
    [
        GENRE.is_in(["a", "b", "c", "d", "e"]),
        (YEAR >= 1990.5) & (SCORE < 3) & SCORE.is_in([1, 2.5]),
        ~(NEW == True) | ~GENRE.exists(),  # noqa: E712
        YEAR.range(gt=0, lte=2**63 - 1),
    ],
)
def test_a_filter_on_declared_fields_is_taken(filter: Filter) -> None:
    """Integers and floats are numbers alike."""
    check_search(request(filter=filter), SPEC, LIMITS)


def test_a_collection_without_fields_takes_no_filter() -> None:
    """The error says that there is nothing to filter by."""
    with pytest.raises(InvalidRequest, match="this collection has none"):
        check_search(request(filter=GENRE == "a"), CollectionSpec("things", 4), LIMITS)


def test_a_search_at_its_limits_is_taken() -> None:
    """The limits themselves are allowed."""
    check_search(request(k=50, ef_search=100, min_coverage=0.0), SPEC, LIMITS)
    check_search(request(vectors=floats(1, 8, 4), k=15, score_threshold=-1.0), SPEC, LIMITS)


@pytest.mark.parametrize(
    ("ids", "vectors", "payloads", "words"),
    [
        (ids_of(range(0), IdType.INT64), floats(1, 0, 4), None, "ids: expected 1 to 8, got 0"),
        (ids_of(range(9), IdType.INT64), floats(1, 9, 4), None, "ids: expected 1 to 8, got 9"),
        (ids_of(range(2), IdType.STRING), floats(1, 2, 4), None, "expected int64 ids, got string"),
        (ids_of(range(2), IdType.INT64), floats(1, 2, 3), None, "expected dimension 4, got 3"),
        (ids_of(range(2), IdType.INT64), floats(1, 3, 4), None, "vectors: expected 2 rows, got 3"),
        (
            ids_of(range(2), IdType.INT64),
            floats(1, 2, 4),
            [b""],
            "payloads: expected 2 rows, got 1",
        ),
    ],
)
def test_a_batch_of_the_wrong_shape_is_refused(
    ids: IdColumn, vectors: Floats, payloads: list[bytes] | None, words: str
) -> None:
    """Columns that do not fit the collection or each other are refused as a whole."""
    with pytest.raises(InvalidRequest) as caught:
        check_items(ItemBatch(ids, vectors, payloads), SPEC, LIMITS)
    assert words in caught.value.message


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_named_with_its_place(metric: Metric, value: float) -> None:
    """NaN and infinities are refused in every metric; the error says which and where."""
    vectors = floats(2, 3, 4)
    vectors[1, 2] = value
    faults = bad_vector_rows("vectors", vectors, metric)
    assert set(faults) == {1}
    assert fault(faults, 1) == f"vectors: expected finite numbers, got {value} at position 2"


def test_a_zero_vector_has_no_direction() -> None:
    """A zero vector is refused under cosine, and fine under dot and l2."""
    vectors = floats(3, 3, 4)
    vectors[2] = 0
    vectors[1] = -0.0
    faults = bad_vector_rows("vectors", vectors, Metric.COSINE)
    assert set(faults) == {1, 2}
    assert fault(faults, 2).endswith("got a zero vector")
    assert not bad_vector_rows("vectors", vectors, Metric.DOT)
    assert not bad_vector_rows("vectors", vectors, Metric.L2)


def test_lengths_have_bounds() -> None:
    """A vector too long for float32 arithmetic is refused, one too short to have a direction too."""
    vectors = floats(4, 4, 4)
    vectors[0] *= np.float32(1e20)
    vectors[1] *= np.float32(1e-25)
    vectors[2] *= np.float32(1e15)
    vectors[3] *= np.float32(1e-15)
    faults = bad_vector_rows("vectors", vectors, Metric.COSINE)
    assert set(faults) == {0, 1}
    assert "length at most 1e+18" in fault(faults, 0)
    assert "length at least 1e-18" in fault(faults, 1)
    assert set(bad_vector_rows("vectors", vectors, Metric.DOT)) == {0}
    with np.errstate(all="raise"):
        bad_vector_rows("vectors", np.full((1, 4), np.finfo(np.float32).max), Metric.L2)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("", "0 bytes"),
        ("x" * 13, "13 bytes"),
        ("ü" * 7, "14 bytes"),
        ("\ud800", "bytes that are no UTF-8"),
    ],
)
def test_an_id_that_cannot_be_stored_is_refused(value: str, got: str) -> None:
    """Empty, too long, and text that has no UTF-8 are no ids."""
    ids = ids_of(range(3), IdType.STRING)
    ids[1] = value
    faults = bad_id_rows(ids, LIMITS)
    assert set(faults) == {1}
    assert fault(faults, 1) == f"ids: expected 1 to 12 bytes of UTF-8, got {got}"


@pytest.mark.parametrize("value", ["x", "ü" * 6, "a\0b", "🜚", " "])
def test_any_short_text_is_an_id(value: str) -> None:
    """Whatever is UTF-8 of the right length is an id."""
    ids = ids_of(range(1), IdType.STRING)
    ids[0] = value
    assert not bad_id_rows(ids, LIMITS)


@pytest.mark.parametrize(
    ("blob", "got"),
    [
        (b"[1, 2]", "a JSON array"),
        (b'"text"', "a JSON string"),
        (b"12", "a JSON number"),
        (b"1.5", "a JSON number"),
        (b"true", "a JSON boolean"),
        (b"null", "a JSON null"),
        (b"{", "text that is no JSON"),
        (b"{'a': 1}", "text that is no JSON"),
        (b'{"a": NaN}', "text that is no JSON"),
        (b'{"a": -Infinity}', "text that is no JSON"),
        (b'{"a": 1} x', "text that is no JSON"),
        (b"\xff\xfe", "text that is no JSON"),
        ('{"a": "é"}'.encode("latin-1"), "text that is no JSON"),
        ('{"a": 1}'.encode("utf-16"), "text that is no JSON"),
        ('{"a": 1}'.encode("utf-16-le"), "text that is no JSON"),
        ('{"a": 1}'.encode("utf-8-sig"), "text that is no JSON"),
        ('{"a": "\ud800"}'.encode("utf-8", "surrogatepass"), "text that is no JSON"),
        (b'{"a": "' + b"x" * 40 + b'"}', "49 bytes"),
        (b'{"a":' * 20, "100 bytes"),
    ],
)
def test_a_payload_is_a_small_json_object_in_utf8(blob: bytes, got: str) -> None:
    """Everything else is refused, and the error tells what it is."""
    batch = ItemBatch(ids_of(range(3), IdType.INT64), floats(5, 3, 4), [b"{}", blob, b""])
    faults = read_payloads(batch, {}, LIMITS)[1]
    assert set(faults) == {1}
    assert fault(faults, 1).endswith(f"a JSON object of at most 40 bytes, got {got}")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ('{"genre": 7}', "payloads.genre: expected a string of at most 512 bytes, or a list of"),
        ('{"genre": ["a", null]}', "payloads.genre: expected a string of at most 512 bytes, or"),
        ('{"genre": [["a"]]}', "got a list"),
        ('{"genre": {"a": 1}}', "got an object"),
        ('{"genre": "\\ud800"}', "got half of a surrogate pair"),
        (json.dumps({"genre": "ä" * 257}), "got 514 bytes"),
        (json.dumps({"genre": ["ok", "x" * 513]}), "got 513 bytes"),
        ('{"year": "1990"}', "payloads.year: expected an integer that fits int64, or a list of"),
        ('{"year": 1990.0}', "got a number with a fraction or an exponent"),
        ('{"year": true}', "got a boolean"),
        ('{"year": [1, null]}', "got null"),
        ('{"year": 9223372036854775808}', "got a number beyond int64"),
        ('{"score": "high"}', "payloads.score: expected a number, got a string"),
        ('{"score": [0.5]}', "payloads.score: expected a number, got a list"),
        ('{"score": false}', "payloads.score: expected a number, got a boolean"),
        ('{"score": 1e999}', "got a number beyond float64"),
        ('{"score": 1' + "0" * 400 + "}", "got a number beyond float64"),
        ('{"new": 1}', "payloads.new: expected true or false, got an integer"),
        ('{"new": [true]}', "payloads.new: expected true or false, got a list"),
    ],
)
def test_a_field_of_another_type_is_refused(payload: str, words: str) -> None:
    """The error of the row names the field, what was declared and what came."""
    batch = ItemBatch(
        ids_of(range(3), IdType.INT64), floats(5, 3, 4), [b"{}", payload.encode(), b""]
    )
    values, faults = read_payloads(batch, FIELDS, Limits())
    assert set(faults) == {1}
    assert words in fault(faults, 1)
    assert list(values) == [{}, {}, {}]


def test_the_values_of_fields_are_read() -> None:
    """A value is a list of one; null, an empty list and other keys are no values."""
    payloads = [
        {"genre": "drama", "year": 1990, "score": 3, "new": True, "title": [{}, None]},
        {"genre": ["a", "b"], "year": [2**63 - 1, -(2**63)], "score": 0.5, "new": False},
        {"genre": None, "year": [], "score": None},
        {"genre": "", "year": 0, "score": -0.0},
    ]
    blobs = [json.dumps(payload).encode() for payload in payloads]
    batch = ItemBatch(ids_of(range(4), IdType.INT64), floats(5, 4, 4), blobs)
    values, faults = read_payloads(batch, FIELDS, Limits())
    assert not faults
    assert list(values) == [
        {"genre": ["drama"], "year": [1990], "score": [3.0], "new": [True]},
        {"genre": ["a", "b"], "year": [2**63 - 1, -(2**63)], "score": [0.5], "new": [False]},
        {},
        {"genre": [""], "year": [0], "score": [-0.0]},
    ]
    assert type(values[0]["score"][0]) is float
    assert read_payloads(batch, {}, Limits()) == ([], {})


def test_a_deep_payload_is_refused_and_harms_nobody() -> None:
    """JSON nested beyond what the parser bears is refused, not crashed on."""
    blob = b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    batch = ItemBatch(ids_of(range(1), IdType.INT64), floats(5, 1, 4), [blob])
    assert set(read_payloads(batch, {}, Limits())[1]) == {0}


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text() | st.none() | st.booleans()))
def test_any_json_object_is_a_payload(value: dict[str, object]) -> None:
    """What a JSON encoder writes is taken, escaped or not."""
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        try:
            blob = text.encode()
        except UnicodeEncodeError:
            continue
        batch = ItemBatch(ids_of(range(1), IdType.INT64), floats(5, 1, 4), [blob])
        assert not read_payloads(batch, {}, Limits())[1]


def test_each_bad_row_has_one_error_and_its_neighbours_none() -> None:
    """Faults of single rows are collected by row, ascending."""
    vectors = floats(6, 6, 4)
    vectors[4, 0], vectors[1] = np.nan, 0
    ids = ids_of(range(6), IdType.STRING)
    ids[5], ids[1] = "", "y" * 99
    payloads = [b"", b"[]", b"", b"7", b"{}", b""]
    spec = replace(SPEC, id_type=IdType.STRING)
    errors = bad_item_rows(ItemBatch(ids, vectors, payloads), spec, LIMITS)
    assert [error.row for error in errors] == [1, 3, 4, 5]
    assert [error.error.field for error in errors] == ["ids", "payloads", "vectors", "ids"]
