"""Queries by id, and the payloads and vectors of hits."""

from __future__ import annotations

import numpy as np

from fanlight.errors import FanlightError, NotFound
from fanlight.hits import attach, by_vector, real_ids, rows_by_id, without_own
from fanlight.ids import to_column
from fanlight.model import Coverage, Hits, Items, SearchRequest

COVERAGE = Coverage(shards_total=1, shards_answered=1, items_total=4, items_covered=4)
NAN = np.nan


def request_by_ids(ids: list[int], k: int) -> SearchRequest:
    return SearchRequest(
        "movies", vectors=None, ids=to_column(ids), k=k, with_payloads=True, with_vectors=True
    )


def items(ids: list[int], blobs: list[bytes] | None = None) -> Items:
    vectors = np.array([[value, value] for value in ids], dtype=np.float32).reshape(-1, 2)
    return Items(to_column(ids), vectors, blobs, missing=to_column([]))


def hits(ids: list[list[int]], scores: list[list[float]]) -> Hits:
    block = np.array(scores, dtype=np.float32)
    counts = np.count_nonzero(~np.isnan(block), axis=1).astype(np.int64)
    return Hits(np.array(ids, dtype=np.int64), block, counts, COVERAGE)


def test_ids_become_the_vectors_of_their_items() -> None:
    """A query by id searches with its item's vector, for one hit more, its own, and bare."""
    request, errors = by_vector(request_by_ids([7, 3, 7], k=5), items([3, 7]))
    assert request.vectors is not None
    assert request.vectors[:, 0].tolist() == [7.0, 3.0, 7.0]
    assert (request.k, request.ids) == (6, None)
    assert (request.with_payloads, request.with_vectors) == (False, False)
    assert errors == {}


def test_an_unknown_id_fails_its_query_alone() -> None:
    """A query whose item does not exist is NotFound and cannot match; its neighbours stand."""
    request, errors = by_vector(request_by_ids([7, 4], k=5), items([7]))
    assert request.vectors is not None
    assert np.isnan(request.vectors).all(axis=1).tolist() == [False, True]
    assert list(errors) == [1]
    assert isinstance(errors[1], NotFound)
    assert "4" in str(errors[1])


def test_a_query_does_not_find_itself() -> None:
    """The own item goes wherever it stands, the others close up, and k is as asked."""
    found = hits([[7, 1, 2], [1, 3, 2]], [[1.0, 0.5, 0.4], [0.9, 0.8, 0.7]])
    left = without_own(found, to_column([7, 3]), {}, k=2)
    assert left.ids.tolist() == [[1, 2], [1, 2]]
    np.testing.assert_allclose(left.scores, [[0.5, 0.4], [0.9, 0.7]])
    assert left.counts.tolist() == [2, 2]


def test_a_query_whose_own_item_is_not_found_is_cut_to_k() -> None:
    """When better items displaced the own one, the worst hit goes instead."""
    left = without_own(hits([[4, 5, 6]], [[3.0, 2.0, 1.0]]), to_column([7]), {}, k=2)
    assert left.ids.tolist() == [[4, 5]]


def test_too_few_hits_stay_padded() -> None:
    """Fewer hits than asked are padded with -1 and NaN after the own item is gone."""
    left = without_own(hits([[7, 2, -1]], [[1.0, 0.5, NAN]]), to_column([7]), {}, k=2)
    assert left.ids.tolist() == [[2, -1]]
    assert left.counts.tolist() == [1]
    assert np.isnan(left.scores[0, 1])


def test_errors_found_before_the_search_replace_its_own() -> None:
    """A query without an item reports that, not what the searchers made of its NaN vector."""
    before: dict[int, FanlightError] = {0: NotFound("ids: no item has the id 7")}
    left = without_own(hits([[-1, -1]], [[NAN, NAN]]), to_column([7]), before, k=1)
    assert left.errors == before


def test_only_real_hits_have_ids() -> None:
    """The ids of real hits come query after query, without the padding."""
    found = hits([[4, 5], [6, -1], [-1, -1]], [[2.0, 1.0], [2.0, NAN], [NAN, NAN]])
    assert real_ids(found).tolist() == [4, 5, 6]


def test_hits_get_their_items_columns() -> None:
    """Each hit gets its item's payload and vector, though several queries found the same."""
    found = hits([[4, 5], [5, -1]], [[2.0, 1.0], [2.0, NAN]])
    full = attach(found, items([5, 4], [b'{"n":5}', b'{"n":4}']))
    assert full.payloads == [[{"n": 4}, {"n": 5}], [{"n": 5}]]
    assert full.vectors is not None
    np.testing.assert_array_equal(full.vectors[:, :, 0], [[4, 5], [5, NAN]])


def test_an_item_deleted_meanwhile_keeps_its_place() -> None:
    """A hit whose item is gone by now has no payload and a NaN vector."""
    full = attach(hits([[4, 5]], [[2.0, 1.0]]), items([5], [b"{}"]))
    assert full.payloads == [[None, {}]]
    assert full.vectors is not None
    assert np.isnan(full.vectors[0]).all(axis=1).tolist() == [True, False]


def test_what_was_not_asked_for_is_not_attached() -> None:
    """Hits without payloads and vectors stay without."""
    bare = attach(hits([[4]], [[2.0]]), Items(to_column([4]), None, None, to_column([])))
    assert bare.payloads is None
    assert bare.vectors is None


def test_string_ids_are_found_by_value() -> None:
    """Rows are looked up by the id itself, whatever its type."""
    assert rows_by_id(to_column(["b", "a"])) == {"b": 0, "a": 1}
