"""What is left out of hits, and their payloads and vectors."""

from __future__ import annotations

import numpy as np

from fanlight.hits import attach, first, real_ids, rows_by_id, without
from fanlight.ids import to_column
from fanlight.model import Coverage, Hits, IdColumn, Items

COVERAGE = Coverage(shards_total=1, shards_answered=1, items_total=4, items_covered=4)
NAN = np.nan


def items(ids: list[int], blobs: list[bytes] | None = None) -> Items:
    vectors = np.array([[value, value] for value in ids], dtype=np.float32).reshape(-1, 2)
    return Items(to_column(ids), vectors, blobs, missing=to_column([]))


def hits(ids: list[list[int]], scores: list[list[float]]) -> Hits:
    block = np.array(scores, dtype=np.float32)
    counts = np.count_nonzero(~np.isnan(block), axis=1).astype(np.int64)
    return Hits(np.array(ids, dtype=np.int64), block, counts, COVERAGE)


def rows_of(*ids: int) -> list[IdColumn]:
    return [to_column([value]) for value in ids]


def test_a_query_does_not_find_itself() -> None:
    """The own item goes wherever it stands, the others close up, and k is as asked."""
    found = hits([[7, 1, 2], [1, 3, 2]], [[1.0, 0.5, 0.4], [0.9, 0.8, 0.7]])
    left = first(without(found, rows_of(7, 3)), 2)
    assert left.ids.tolist() == [[1, 2], [1, 2]]
    np.testing.assert_allclose(left.scores, [[0.5, 0.4], [0.9, 0.7]])
    assert left.counts.tolist() == [2, 2]


def test_a_query_whose_own_item_is_not_found_is_cut_to_k() -> None:
    """When better items displaced the own one, the worst hit goes instead."""
    left = first(without(hits([[4, 5, 6]], [[3.0, 2.0, 1.0]]), rows_of(7)), 2)
    assert left.ids.tolist() == [[4, 5]]


def test_too_few_hits_stay_padded() -> None:
    """Fewer hits than asked are padded with -1 and NaN after the own item is gone."""
    left = first(without(hits([[7, 2, -1]], [[1.0, 0.5, NAN]]), rows_of(7)), 2)
    assert left.ids.tolist() == [[2, -1]]
    assert left.counts.tolist() == [1]
    assert np.isnan(left.scores[0, 1])


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
