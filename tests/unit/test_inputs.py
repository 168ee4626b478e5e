"""What cannot travel is refused with its field and row; what can keeps its value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fanlight.errors import InvalidRequest
from fanlight.inputs import as_ids, as_payload_blobs, as_queries, as_timeout, as_vectors, id_sizes

CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE
DEEP: dict[str, Any] = {}
for _ in range(100_000):
    DEEP = {"in": DEEP}


@pytest.mark.parametrize(
    ("payload", "got"),
    [
        ({"n": float("nan")}, "a value that JSON lacks"),
        (CIRCLE, "a value that JSON lacks"),
        (DEEP, "deeper nesting"),
        ({"n": np.float32(1)}, "a float32"),
        ({"n": {1, 2}}, "a set"),
        ({(1, 2): 3}, "others"),
        ({"n": "\ud800"}, "half of a surrogate pair"),
        ([1], "list"),
        ("text", "str"),
    ],
)
def test_a_payload_that_is_no_json_names_its_row(payload: Any, got: str) -> None:
    """A payload that JSON cannot hold is refused with its row."""
    with pytest.raises(InvalidRequest, match=r"^row 1: payloads: expected") as caught:
        as_payload_blobs([None, payload])
    assert caught.value.got == got
    assert [row.row for row in caught.value.rows] == [1]


def test_payloads_travel_as_json() -> None:
    """A payload becomes compact UTF-8; None becomes nothing."""
    assert as_payload_blobs([{"ü": [1, None]}, None, {}]) == ['{"ü":[1,null]}'.encode(), b"", b"{}"]
    assert as_payload_blobs(None) is None


@pytest.mark.parametrize("payloads", [{"a": 1}, 5, "text", b"text"])
def test_payloads_come_one_a_row(payloads: Any) -> None:
    """A single payload, or no payload at all, is no list of them."""
    with pytest.raises(InvalidRequest, match="payloads: expected a list of dicts"):
        as_payload_blobs(payloads)


@pytest.mark.parametrize(
    ("ids", "got"), [("ab", "one str"), (b"ab", "one bytes"), (5, "one int"), ([], "0")]
)
def test_ids_come_as_a_sequence(ids: Any, got: str) -> None:
    """A single id is not taken for a sequence of characters, and none is not enough."""
    with pytest.raises(InvalidRequest, match="ids: expected") as caught:
        as_ids(ids)
    assert caught.value.got == got


def test_ids_have_their_size_on_the_wire() -> None:
    """An integer takes 8 bytes, a string those of its UTF-8; one without is named."""
    assert id_sizes(as_ids([1, 2])).tolist() == [8, 8]
    assert id_sizes(as_ids(["a", "ä", ""])).tolist() == [1, 2, 0]
    with pytest.raises(InvalidRequest, match=r"^row 1: ids: expected text"):
        id_sizes(as_ids(["a", "\ud800"]))


@pytest.mark.parametrize(
    "vectors",
    [
        [1.0],
        1.0,
        [[[1.0]]],
        [[1.0], [1.0, 2.0]],
        [["1.0"]],
        [[None]],
        [[True]],
        [[1j]],
        np.ones((0, 3)),
    ],
)
def test_vectors_are_a_matrix_of_numbers(vectors: Any) -> None:
    """Anything but rows of numbers of one length is refused by the name of the field."""
    with pytest.raises(InvalidRequest, match="vectors: expected"):
        as_vectors("vectors", vectors)


def test_a_single_query_is_one_row() -> None:
    """A query may come as a vector; a batch of none, or of batches, may not come at all."""
    assert as_queries("queries", [1, 2, 3]).shape == (1, 3)
    assert as_queries("queries", [[1, 2, 3]]).shape == (1, 3)
    for queries in (1.0, [], [[[1.0]]]):
        with pytest.raises(InvalidRequest, match="queries: expected"):
            as_queries("queries", queries)


@pytest.mark.parametrize(
    ("given", "travels"),
    [
        ("f4", "f4"),
        ("f2", "f2"),
        ("i1", "i1"),
        ("f8", "f4"),
        (">f4", "f4"),
        (">f2", "f4"),
        ("i8", "f4"),
        ("u1", "f4"),
    ],
)
def test_vectors_travel_as_narrow_as_they_are(given: str, travels: str) -> None:
    """float16 and int8 travel as they are, everything else as float32, and values stay."""
    taken = as_vectors("vectors", np.array([[1, 2, 3]], dtype=given))
    assert taken.dtype == travels
    assert taken.tolist() == [[1.0, 2.0, 3.0]]


def test_numbers_too_large_for_float32_become_infinite() -> None:
    """A float64 out of range is no accident of the client: the server refuses its row."""
    assert np.isposinf(as_vectors("vectors", [[1e300]])).all()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
def test_a_deadline_is_a_time_to_come(timeout: Any) -> None:
    """A timeout that is no number of seconds above 0 is refused."""
    with pytest.raises(InvalidRequest, match="timeout: expected"):
        as_timeout(timeout, 5.0)
