"""How a large batch is cut into requests, and put together again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fanlight.chunks import (
    check_row_bytes,
    join_hits,
    queries_of_chunk,
    spans_of_bytes,
    spans_of_rows,
)
from fanlight.errors import InvalidRequest, NotReady
from fanlight.examples import interest, interests
from fanlight.hits import worse_coverage
from fanlight.ids import to_column
from fanlight.items import join_items
from fanlight.model import Coverage, Hits, Items, SearchRequest, ShardFailure
from fanlight.queries import Slate
from fanlight.wire.channels import MESSAGE_BYTES

WHOLE = Coverage(shards_total=1, shards_answered=1, items_total=9, items_covered=9)


def hits_of(n: int, k: int, **others: Any) -> Hits:
    ids = np.arange(n * k, dtype=np.int64).reshape(n, k)
    counts = np.full(n, k, dtype=np.int64)
    return Hits(
        ids, np.ones((n, k), dtype=np.float32), counts, others.pop("coverage", WHOLE), **others
    )


def _lengths(spans: Sequence[slice]) -> list[int]:
    return [span.stop - span.start for span in spans]


def test_runs_of_bytes_cover_every_row_once() -> None:
    """Runs stay within the bytes, a single row that is larger stands alone, none is lost."""
    sizes = np.array([40, 40, 40, 500, 10, 90, 1], dtype=np.int64)
    spans = spans_of_bytes(sizes, most_bytes=100, most=100)
    assert _lengths(spans) == [2, 1, 1, 2, 1]
    assert [row for span in spans for row in range(span.start, span.stop)] == list(range(7))


def test_runs_of_rows_are_bounded() -> None:
    """However small the rows, a run has no more than its most."""
    assert _lengths(spans_of_bytes(np.ones(25, dtype=np.int64), most_bytes=1_000, most=10)) == [
        10,
        10,
        5,
    ]
    assert _lengths(spans_of_rows(25, 10)) == [10, 10, 5]


def test_a_row_that_fits_no_message_is_refused() -> None:
    """The row is named, since no server could ever take it."""
    with pytest.raises(InvalidRequest, match=r"^row 1: payloads: expected an item of at most"):
        check_row_bytes(np.array([10, MESSAGE_BYTES], dtype=np.int64))


def test_answers_of_a_search_fit_a_message() -> None:
    """The more hits and columns a query asks for, the fewer queries a request holds."""
    vectors = np.ones((5_000, 768), dtype=np.float32)
    request = SearchRequest("movies", vectors=vectors, k=10)
    assert queries_of_chunk(request) == 256
    for k, with_vectors in [(10_000, False), (1_000, True), (10_000_000, True)]:
        asked = SearchRequest("movies", vectors=vectors, k=k, with_vectors=with_vectors)
        queries = queries_of_chunk(asked)
        assert queries >= 1
        assert queries == 1 or queries * k * (12 + with_vectors * 3_072) < MESSAGE_BYTES


def test_a_request_whose_lists_are_made_holds_fewer_queries() -> None:
    """By rules or of several interests: either takes long, and reads the items of candidates."""
    one, other = interest([1.0, 0.0]), interest([0.0, 1.0])
    by_rules = SearchRequest("movies", np.ones((100, 2), dtype=np.float32), 10, slate=Slate())
    by_interests = SearchRequest("movies", None, 10, composed=(interests(one, other),) * 100)
    by_one = SearchRequest("movies", None, 10, composed=(interests(one),) * 100)
    assert queries_of_chunk(by_rules) == queries_of_chunk(by_interests) == 32
    assert queries_of_chunk(by_one) == 256


def test_the_coverage_of_several_requests_is_the_worst() -> None:
    """It has the fewest shards and items of any, and each failed shard once."""
    lost = (ShardFailure("shard-1", NotReady("gone")),)
    some = Coverage(3, 2, None, 60, lost)
    joined = join_hits([hits_of(1, 1, coverage=c) for c in (Coverage(3, 3, 90, 90), some, some)])
    assert joined.coverage == Coverage(3, 2, None, 60, lost)


def test_shards_that_failed_at_different_times_are_both_lacking() -> None:
    """A shard has answered if it did so every time."""
    early = (ShardFailure("shard-1", NotReady("gone")),)
    late = (ShardFailure("shard-2", NotReady("gone")),)
    either = worse_coverage(Coverage(3, 2, 90, 60, early), Coverage(3, 2, 90, 50, late))
    assert either == Coverage(3, 1, 90, 50, early + late)


def test_columns_of_hits_are_joined() -> None:
    """Payloads and vectors follow their hits; a part without hits need not know the dimension."""
    full = hits_of(
        1, 2, payload_blobs=[b"{}", b'{"a":1}'], vectors=np.ones((1, 2, 3), dtype=np.float32)
    )
    none = Hits(
        ids=np.full((2, 2), -1),
        scores=np.full((2, 2), np.nan, dtype=np.float32),
        counts=np.zeros(2, dtype=np.int64),
        coverage=WHOLE,
        payload_blobs=[],
        vectors=np.zeros((2, 2, 0), dtype=np.float32),
    )
    joined = join_hits([none, full])
    assert joined.payloads == [[], [], [{}, {"a": 1}]]
    assert joined.vectors is not None
    assert joined.vectors.shape == (3, 2, 3)
    assert np.isnan(joined.vectors[:2]).all()


def test_items_of_several_requests_are_joined() -> None:
    """Found and missing ids keep their order; a part without items need not know the dimension."""
    found = Items(to_column(["b"]), np.ones((1, 3), dtype=np.float32), [b""], to_column(["x"]))
    nothing = to_column(["b"])[:0]
    missing = Items(nothing, np.zeros((0, 0), dtype=np.float32), [], to_column(["y"]))
    joined = join_items([missing, found])
    assert joined.ids.tolist() == ["b"]
    assert joined.missing.tolist() == ["y", "x"]
    assert joined.vectors is not None
    assert joined.vectors.shape == (1, 3)
    assert joined.payloads == [None]
