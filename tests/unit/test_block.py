"""Blocks, heads and views: what is visible, and what is dead."""

from __future__ import annotations

import numpy as np
import pytest
from tests import oracle
from tests.pieces import block_of, floats, ids_of

from fanlight.model import IdType, Metric
from fanlight_server.index.block import concatenate
from fanlight_server.index.head import Head
from fanlight_server.index.scoring import Queries
from fanlight_server.index.view import Part, View

ID_TYPES = list(IdType)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_blocks_are_joined_in_order(id_type: IdType) -> None:
    """Joined blocks keep every column of every row; joining none gives an empty block."""
    whole = block_of(ids_of(range(10), id_type), floats(1, 10, 3))
    joined = concatenate([whole.take(np.arange(4)), whole.take(np.arange(4, 10))], 3, id_type)
    for name in ("ids", "seqs", "vectors", "lengths"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    nothing = concatenate([], 3, id_type)
    assert (len(nothing), nothing.dim, nothing.ids.dtype) == (0, 3, whole.ids.dtype)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_head_shows_what_was_appended(id_type: IdType) -> None:
    """Rows come back as they were put, and a block taken before shows no later row."""
    head = Head(10, 3, id_type)
    source = block_of(ids_of(range(7), id_type), floats(2, 7, 3))
    head.append(source.ids[:4], source.seqs[:4], source.vectors[:4])
    before = head.block()
    head.append(source.ids[4:], source.seqs[4:], source.vectors[4:])
    assert (len(head), head.room, len(before)) == (7, 3, 4)
    for name in ("ids", "seqs", "vectors", "lengths"):
        np.testing.assert_array_equal(getattr(head.block(), name), getattr(source, name))
        np.testing.assert_array_equal(getattr(before, name), getattr(source, name)[:4])


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_head_finds_the_newest_row_of_an_id(id_type: IdType) -> None:
    """An id appended twice is found where it came last."""
    head = Head(10, 2, id_type)
    ids = ids_of(np.array([4, 5, 4, -1]), id_type)
    head.append(ids, np.arange(4), floats(3, 4, 2))
    assert head.rows_of(ids_of(np.array([5, 4, 6, -1]), id_type)).tolist() == [1, 2, -1, 3]


def view_over(id_type: IdType) -> View:
    """Make a view of two heads: ids 0 to 5, and 6 to 9."""
    heads = [Head(6, 3, id_type), Head(6, 3, id_type)]
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
    queries = Queries.prepare(Metric.COSINE, floats(5, 1, 3))
    for state, gone in ((view, set[int]()), (later, {2, 7}), (again, {2, 7, 8})):
        hits = state.search(queries, 20, None, 1)
        wanted = ids_of(np.array(sorted(set(range(10)) - gone)), id_type)
        assert set(hits.ids[0, : hits.counts[0]].tolist()) == set(wanted.tolist())


def test_the_same_part_grows_with_its_tombstones() -> None:
    """Rows that become visible later are alive; dead ones stay dead."""
    head = Head(8, 2, IdType.INT64)
    head.append(np.arange(3), np.arange(1, 4), floats(6, 3, 2))
    part = Part(head, head.block()).without(np.array([1]))
    head.append(np.arange(3, 5), np.arange(4, 6), floats(7, 2, 2))
    grown = part.grown(head.block())
    assert grown.dead_rows().tolist() == [False, True, False, False, False]
    assert (part.live, grown.live) == (2, 4)
    assert grown.rows_of(np.array([0, 1, 4])).tolist() == [0, -1, 4]


@pytest.mark.parametrize("metric", list(Metric))
def test_a_view_is_searched_as_one(metric: Metric) -> None:
    """However rows lie in parts, the answer is brute force over the live ones."""
    view, _ = view_over(IdType.STRING).without(ids_of(np.array([0, 6]), IdType.STRING))
    blocks = concatenate([part.block for part in view.parts], 3, IdType.STRING)
    live = ~np.concatenate([part.dead_rows() for part in view.parts])
    queries = floats(8, 3, 3)
    for k in (1, 4, 8, 30):
        got = view.search(Queries.prepare(metric, queries), k, None, 1)
        assert got.ids.shape == (3, k)
        oracle.assert_equal(
            got, oracle.best(metric, queries, blocks.ids[live], blocks.vectors[live], k)
        )


def test_an_empty_view_has_no_hits() -> None:
    """A collection without items answers with padding alone."""
    head = Head(8, 2, IdType.INT64)
    view = View((Part(head, head.block()),), IdType.INT64, 0)
    hits = view.search(Queries.prepare(Metric.L2, floats(9, 2, 2)), 3, 50, 1)
    assert hits.ids.tolist() == [[-1] * 3] * 2
    assert hits.counts.tolist() == [0, 0]
