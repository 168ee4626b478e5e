"""Blocks, heads and views: what is visible, and what is dead."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import oracle
from tests.pieces import block_of, floats, gathered, ids_of, spec_of

from fanlight.ids import empty
from fanlight.model import IdType, Metric
from fanlight_server.index import string_ids
from fanlight_server.index.head import Head
from fanlight_server.index.query import Queries
from fanlight_server.index.view import Part, View

ID_TYPES = list(IdType)


COLUMNS = ("ids", "seqs", "vectors", "lengths", "codes")


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_blocks_are_gathered_in_order(id_type: IdType) -> None:
    """Gathered blocks keep every column of every row kept, in order; keeping none is fine."""
    whole = block_of(ids_of(range(10), id_type), floats(1, 10, 3))
    parts = [block_of(whole.ids[a:b], whole.vectors[a:b], a + 1) for a, b in ((0, 4), (4, 10))]
    kept = np.random.default_rng(1).random(10) < 0.6
    together = gathered(parts, [kept[:4], kept[4:]])
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(together, name), getattr(whole, name)[kept])
    nothing = gathered(parts, [np.zeros(4, np.bool_), np.zeros(6, np.bool_)])
    assert (len(nothing), nothing.dim, nothing.ids.dtype) == (0, 3, whole.ids.dtype)


@settings(max_examples=200)
@given(st.lists(st.text(alphabet="ab\0ü🜚", max_size=20) | st.text(max_size=12), max_size=30))
def test_string_ids_rank_as_they_sort(values: list[str]) -> None:
    """Keys of string ids sort as the strings do, in a segment and in a head; bytes come back."""
    ids = empty(IdType.STRING, len(values))
    ids[:] = values
    keys = string_ids.ranks(*string_ids.to_bytes(ids)).tolist()
    place = {value: at for at, value in enumerate(sorted(set(values)))}
    by_key = sorted(zip(keys, map(place.__getitem__, values), strict=True))
    assert all((a[0] < b[0]) == (a[1] < b[1]) for a, b in pairwise(by_key))
    np.testing.assert_array_equal(string_ids.from_bytes(*string_ids.to_bytes(ids)), ids)

    head = Head(max(1, len(values)), spec_of(2, id_type=IdType.STRING))
    for start in range(0, len(values), 7):
        part = ids[start : start + 7]
        head.append(part, np.arange(len(part)), floats(1, len(part), 2))
    names = head.block().ids[np.argsort(head.block().order)]
    assert names.tolist() == sorted(values)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_head_shows_what_was_appended(id_type: IdType) -> None:
    """Rows come back as they were put, and a block taken before shows no later row."""
    head = Head(10, spec_of(3, id_type=id_type))
    source = block_of(ids_of(range(7), id_type), floats(2, 7, 3))
    head.append(source.ids[:4], source.seqs[:4], source.vectors[:4])
    before = head.block()
    head.append(source.ids[4:], source.seqs[4:], source.vectors[4:])
    assert (len(head), head.room, len(before)) == (7, 3, 4)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(head.block(), name), getattr(source, name))
        np.testing.assert_array_equal(getattr(before, name), getattr(source, name)[:4])


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_head_finds_the_newest_row_of_an_id(id_type: IdType) -> None:
    """An id appended twice is found where it came last."""
    head = Head(10, spec_of(2, id_type=id_type))
    ids = ids_of(np.array([4, 5, 4, -1]), id_type)
    head.append(ids, np.arange(4), floats(3, 4, 2))
    assert head.rows_of(ids_of(np.array([5, 4, 6, -1]), id_type)).tolist() == [1, 2, -1, 3]


def view_over(id_type: IdType, metric: Metric = Metric.COSINE) -> View:
    """Make a view of two heads: ids 0 to 5, and 6 to 9."""
    heads = [Head(6, spec_of(3, metric, id_type)), Head(6, spec_of(3, metric, id_type))]
    source = block_of(ids_of(range(10), id_type), floats(4, 10, 3))
    heads[0].append(source.ids[:6], source.seqs[:6], source.vectors[:6])
    heads[1].append(source.ids[6:], source.seqs[6:], source.vectors[6:])
    return View(tuple(Part(head, head.block()) for head in heads), id_type, 10)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_killing_items_leaves_older_views_as_they_were(id_type: IdType) -> None:
    """A view never changes; its successor counts and hides the dead, each id once."""
    view = view_over(id_type)
    later, _ = view.without(ids_of(np.array([2, 7, 7, 99]), id_type))
    again, killed = later.without(ids_of(np.array([2, 8]), id_type))
    assert (view.live, later.live, again.live) == (10, 8, 7)
    assert killed == 1
    queries = Queries(floats(5, 1, 3), 20, ef=None)
    for state, gone in ((view, set[int]()), (later, {2, 7}), (again, {2, 7, 8})):
        hits = state.search(queries).hits
        wanted = ids_of(np.array(sorted(set(range(10)) - gone)), id_type)
        assert set(hits.ids[0, : hits.counts[0]].tolist()) == set(wanted.tolist())


def test_the_same_part_grows_with_its_tombstones() -> None:
    """Rows that become visible later are alive; dead ones stay dead."""
    head = Head(8, spec_of(2))
    head.append(np.arange(3), np.arange(1, 4), floats(6, 3, 2))
    part = Part(head, head.block()).without(np.array([1]))
    head.append(np.arange(3, 5), np.arange(4, 6), floats(7, 2, 2))
    grown = part.grown(head.block())
    assert grown.live_rows().tolist() == [True, False, True, True, True]
    assert (part.live, grown.live) == (2, 4)
    assert grown.rows_of(np.array([0, 1, 4])).tolist() == [0, -1, 4]


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("metric", list(Metric))
def test_a_view_is_searched_as_one(metric: Metric, id_type: IdType) -> None:
    """However rows lie in parts, the answer is brute force over the live ones."""
    whole = view_over(id_type, metric)
    view, _ = whole.without(ids_of(np.array([0, 6]), id_type))
    parts = view.parts
    live = gathered([part.block for part in parts], [part.live_rows() for part in parts])
    queries = floats(8, 3, 3)
    for k in (1, 4, 8, 30):
        got = view.search(Queries(queries, k, ef=None)).hits
        assert got.ids.shape == (3, k)
        oracle.assert_equal(got, oracle.best(metric, queries, live.ids, live.vectors, k))


def test_an_empty_view_has_no_hits() -> None:
    """A collection without items answers with padding alone."""
    head = Head(8, spec_of(2))
    view = View((Part(head, head.block()),), IdType.INT64, 0)
    hits = view.search(Queries(floats(9, 2, 2), 3, ef=50)).hits
    assert hits.ids.tolist() == [[-1] * 3] * 2
    assert hits.counts.tolist() == [0, 0]


def test_a_query_that_a_part_had_no_time_for_is_told() -> None:
    """Time that runs out in the second part leaves the queries unanswered, not half answered."""
    left = iter([None, 0.0])
    queries = Queries(floats(5, 2, 3), 4, ef=None, time_left=lambda: next(left))
    answer = view_over(IdType.STRING).search(queries)
    assert not answer.whole
    assert answer.hits.counts.tolist() == [-1, -1]
