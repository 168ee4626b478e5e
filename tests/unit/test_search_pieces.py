"""A search in pieces is the message that it is as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from fanlight.examples import as_exclusions
from fanlight.model import SearchRequest
from fanlight.v1 import search_pb2
from fanlight.wire.codec import to_search
from fanlight.wire.pieces import size_of, varint
from fanlight.wire.search_pieces import pieces_of

INT64 = np.iinfo(np.int64)
VECTOR = np.ones((1, 3), dtype=np.float32)
MANY = np.random.default_rng(6).permutation(120_000)


@pytest.mark.parametrize("sets", [[], ["seen", "blocked"]])
@pytest.mark.parametrize(
    ("ids", "in_pieces"),
    [
        (None, False),
        ([], False),
        ([3, 1], False),
        (MANY * 2, False),
        (MANY << 20, True),
        (MANY << 33, True),
        (np.append(MANY << 20, [INT64.min, INT64.max]), True),  # with wide steps
        (MANY << 46, True),  # not packed
        ([f"{number:>8}" for number in range(40_000)], True),
        ([f"{number:>8}" for number in range(20_000)], False),
        ([f"{number:>8}\0" for number in range(40_000)], False),  # each by itself
    ],
    ids=str,
)
def test_pieces_are_the_message(ids: object, in_pieces: bool, sets: list[str]) -> None:
    """Few ids or many, packed or not, with sets and without; many lie apart from the others."""
    exclude = as_exclusions(ids, sets)  # type: ignore[arg-type]
    request = SearchRequest("movies", VECTOR, 5, ef_search=9, exclude=exclude)
    pieces = pieces_of(request)
    assert (len(pieces) > 1) == in_pieces
    blob = b"".join(pieces)
    assert size_of(pieces) == len(blob)
    assert search_pb2.SearchRequest.FromString(blob) == to_search(request)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**14 - 1, 2**14, 2**28, 2**31])
def test_numbers_are_written_as_protobuf_writes_them(value: int) -> None:
    """Behind the key of a field that holds one, whose number is 4."""
    assert search_pb2.SearchRequest.FromString(b"\x20" + varint(value)).k == value
