"""One collection on one shard: what is written is found, what is deleted is gone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.pieces import floats, ids_of
from tests.storage.conftest import OpenCatalog
from tests.storage.model import (
    DIM,
    WAIT_S,
    Model,
    at_rest,
    batch_of,
    check,
    made,
    put,
    scrolled,
    search,
)

from fanlight.errors import InvalidRequest, NotFound, Overloaded
from fanlight.limits import Limits
from fanlight.model import IdType, ItemBatch, Metric, SearchRequest

ID_TYPES = list(IdType)
METRICS = list(Metric)
WaitUntil = Callable[..., None]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_write_is_seen_by_the_next_read(
    open_catalog: OpenCatalog, metric: Metric, id_type: IdType
) -> None:
    """Items written are found, read, counted and scrolled as brute force says, batch by batch."""
    collection = made(open_catalog, metric, id_type)
    model = Model(DIM, id_type, metric)
    queries = floats(2, 3, DIM)
    check(collection, model, queries)
    for seed, numbers in enumerate((range(5), range(3, 90), range(200, 201), range(-40, 10))):
        batch = batch_of(numbers, id_type, seed, [b'{"n": %d}' % n for n in numbers])
        put(collection, batch)
        model.put(batch)
        check(collection, model, queries)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_an_upsert_replaces_the_whole_item(open_catalog: OpenCatalog, id_type: IdType) -> None:
    """A later upsert of an id leaves nothing of the item before: neither vector nor payload."""
    collection = made(open_catalog, id_type=id_type)
    put(collection, batch_of(range(3), id_type, 1, [b'{"old": 1}'] * 3))
    put(collection, batch_of([1], id_type, 2))
    got = collection.get(ids_of(range(3), id_type))
    assert got.payloads == [{"old": 1}, None, {"old": 1}]
    assert got.vectors is not None
    np.testing.assert_array_equal(got.vectors[1], floats(2, 1, DIM)[0])
    old = search(collection, floats(1, 3, DIM)[1:2], 3)
    assert old.scores[0, 0] < 0.999


def test_of_equal_ids_in_a_batch_the_last_counts(open_catalog: OpenCatalog) -> None:
    """Rows that a later row of the batch replaces are reported, and only the last is stored."""
    collection = made(open_catalog)
    batch = batch_of([7, 8, 7, 9, 7, 8], payloads=[b'{"row": %d}' % row for row in range(6)])
    result = collection.upsert(batch).result(WAIT_S)
    assert (result.written, result.errors) == (3, ())
    assert result.superseded_rows.tolist() == [0, 1, 2]
    got = collection.get(np.array([7, 8, 9]))
    assert got.payloads == [{"row": 4}, {"row": 5}, {"row": 3}]
    assert collection.count() == 3


def test_a_refused_row_does_not_supersede(open_catalog: OpenCatalog) -> None:
    """A bad later row leaves the good earlier row of the same id standing."""
    collection = made(open_catalog)
    batch = batch_of([7, 7])
    batch.vectors[1] = np.nan
    result = collection.upsert(batch).result(WAIT_S)
    assert (result.written, [error.row for error in result.errors]) == (1, [1])
    assert result.superseded_rows.tolist() == []
    assert collection.get(np.array([7])).ids.tolist() == [7]


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_refused_rows_change_nothing_and_stop_nobody(
    open_catalog: OpenCatalog, id_type: IdType
) -> None:
    """Bad rows leave the items they name as they were, and their neighbours are written."""
    collection = made(open_catalog, id_type=id_type, limits=Limits(payload_bytes=100))
    model = Model(DIM, id_type)
    before = batch_of(range(10), id_type, 1, [b'{"v": 1}'] * 10)
    put(collection, before)
    model.put(before)

    batch = batch_of(range(10), id_type, 2, [b'{"v": 2}'] * 10)
    batch.vectors[1, 3] = np.nan
    batch.vectors[2, 0] = -np.inf
    batch.vectors[3] = 0
    batch.vectors[4] *= np.float32(1e30)
    assert isinstance(batch.payload_blobs, list)
    batch.payload_blobs[5] = b"[]"
    batch.payload_blobs[6] = b'{"v": "' + b"x" * 100 + b'"}'
    batch.payload_blobs[7] = b"{"
    result = collection.upsert(batch).result(WAIT_S)
    assert [error.row for error in result.errors] == [1, 2, 3, 4, 5, 6, 7]
    assert all(isinstance(error.error, InvalidRequest) for error in result.errors)
    assert {error.error.field for error in result.errors} == {"vectors", "payloads"}
    assert result.written == 3
    good = np.array([0, 8, 9])
    model.put(ItemBatch(batch.ids[good], batch.vectors[good], [b'{"v": 2}'] * 3))
    check(collection, model, floats(3, 2, DIM))


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_batch_of_nothing_but_bad_rows(open_catalog: OpenCatalog, id_type: IdType) -> None:
    """A batch without a good row is answered row by row, and changes nothing."""
    collection = made(open_catalog, id_type=id_type)
    batch = batch_of(range(4), id_type)
    batch.vectors[:] = np.nan
    result = collection.upsert(batch).result(WAIT_S)
    assert (result.written, len(result.errors), len(result.superseded_rows)) == (0, 4, 0)
    assert collection.count() == 0
    put(collection, batch_of(range(4), id_type))
    assert collection.count() == 4


def test_bad_string_ids_are_refused_by_row(open_catalog: OpenCatalog) -> None:
    """Ids that cannot be stored are named by row in upserts and deletions; the others count."""
    collection = made(open_catalog, id_type=IdType.STRING)
    batch = batch_of(range(5), IdType.STRING)
    batch.ids[1], batch.ids[2], batch.ids[3] = "", "x" * 513, "\ud800"
    result = collection.upsert(batch).result(WAIT_S)
    assert [error.row for error in result.errors] == [1, 2, 3]
    assert result.written == 2
    deleted = collection.delete(batch.ids).result(WAIT_S)
    assert [error.row for error in deleted.errors] == [1, 2, 3]
    assert deleted.deleted == 2
    assert collection.get(batch.ids).missing.tolist() == batch.ids.tolist()


@pytest.mark.parametrize(
    ("ids", "dim", "rows"),
    [
        (ids_of(range(3), IdType.STRING), DIM, 3),
        (ids_of(range(3), IdType.INT64), DIM + 1, 3),
        (ids_of(range(3), IdType.INT64), DIM, 2),
        (ids_of(range(0), IdType.INT64), DIM, 0),
        (ids_of(range(41), IdType.INT64), DIM, 41),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_at_once(
    open_catalog: OpenCatalog, ids: np.ndarray[tuple[int], np.dtype[np.int64]], dim: int, rows: int
) -> None:
    """A wrong type of ids, dimension, number of rows or size is refused before anything is done."""
    collection = made(open_catalog, limits=Limits(batch_rows=40))
    with pytest.raises(InvalidRequest):
        collection.upsert(ItemBatch(ids, floats(1, rows, dim)))
    assert collection.count() == 0


def test_a_deletion_is_seen_at_once(open_catalog: OpenCatalog) -> None:
    """Deleted items are gone from every read; unknown and repeated ids are no error."""
    collection = made(open_catalog)
    model = Model(DIM, IdType.INT64)
    batch = batch_of(range(200))
    put(collection, batch)
    model.put(batch)
    result = collection.delete(np.array([5, 5, 150, 999, -1, 5])).result(WAIT_S)
    assert (result.deleted, result.errors) == (2, ())
    assert model.drop(np.array([5, 150])) == 2
    check(collection, model, batch.vectors[[5, 150, 0]])
    assert collection.delete(np.array([5])).result(WAIT_S).deleted == 0
    put(collection, batch_of([5], seed=9))
    assert collection.get(np.array([5])).ids.tolist() == [5]


@pytest.mark.parametrize("exact", [True, False])
def test_fewer_items_than_k_are_fewer_hits(
    open_catalog: OpenCatalog, exact: bool, wait_until: WaitUntil
) -> None:
    """A search for more than there is gives all there is, padded, and no error."""
    collection = made(open_catalog)
    for rows in (1, 50, 700):
        put(collection, batch_of(range(rows)))
        for _ in range(2):
            hits = search(collection, floats(2, 2, DIM), 1_000, exact=exact)
            assert hits.counts.tolist() == [rows, rows]
            assert sorted(hits.ids[0, :rows].tolist()) == list(range(rows))
            assert np.isnan(hits.scores[:, rows:]).all()
            assert (hits.ids[:, rows:] == -1).all()
            wait_until(lambda: at_rest(collection))


def test_an_item_may_have_the_id_minus_one(open_catalog: OpenCatalog) -> None:
    """-1 pads, but it is an id like any other as well; the counts tell."""
    collection = made(open_catalog)
    put(collection, batch_of([-1, 0, -(2**63), 2**63 - 1]))
    hits = search(collection, floats(1, 4, DIM), 6)
    assert hits.counts.tolist() == [4] * 4
    assert hits.ids[:, 0].tolist() == [-1, 0, -(2**63), 2**63 - 1]
    by_id = collection.search(SearchRequest("things", None, 3, ids=np.array([-1, 0])))
    assert by_id.counts.tolist() == [3, 3]
    assert -1 in by_id.ids[1].tolist()
    assert -1 not in by_id.ids[0].tolist()
    assert scrolled(collection, 1) == [-(2**63), -1, 0, 2**63 - 1]
    assert collection.delete(np.array([-1])).result(WAIT_S).deleted == 1


def test_one_bad_query_does_not_lose_the_others(open_catalog: OpenCatalog) -> None:
    """NaN, infinite and zero queries fail alone; the rest is answered as without them."""
    collection = made(open_catalog)
    put(collection, batch_of(range(100)))
    queries = floats(6, 6, DIM)
    alone = search(collection, queries[[1, 3, 5]], 7)
    queries[0, 2], queries[2], queries[4, 0] = np.nan, 0, np.inf
    hits = collection.search(SearchRequest("things", queries, 7))
    assert set(hits.errors) == {0, 2, 4}
    assert all(isinstance(error, InvalidRequest) for error in hits.errors.values())
    assert hits.counts.tolist() == [0, 7, 0, 7, 0, 7]
    np.testing.assert_array_equal(hits.ids[[1, 3, 5]], alone.ids)
    assert (hits.ids[[0, 2, 4]] == -1).all()
    assert np.isnan(hits.scores[[0, 2, 4]]).all()
    bad = collection.search(SearchRequest("things", queries[[0, 2]], 3, with_payloads=True))
    assert set(bad.errors) == {0, 1}
    assert bad.ids.shape == (2, 3)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_query_by_id_is_that_items_vector(open_catalog: OpenCatalog, id_type: IdType) -> None:
    """A query by id finds the item's neighbours without itself; an unknown id fails alone."""
    collection = made(open_catalog, id_type=id_type)
    batch = batch_of(range(100), id_type)
    put(collection, batch)
    ids = ids_of(np.array([3, 500, 42]), id_type)
    hits = collection.search(SearchRequest("things", None, 5, ids=ids, exact=True))
    assert set(hits.errors) == {1}
    assert isinstance(hits.errors[1], NotFound)
    assert hits.counts.tolist() == [5, 0, 5]
    for row, number in ((0, 3), (2, 42)):
        others = search(collection, batch.vectors[[number]], 6)
        assert hits.ids[row].tolist() == others.ids[0, 1:].tolist()
        np.testing.assert_array_equal(hits.scores[row], others.scores[0, 1:])
    everything = collection.search(SearchRequest("things", None, 200, ids=ids[:1]))
    assert everything.counts.tolist() == [99]


def test_hits_come_with_what_was_asked_for(open_catalog: OpenCatalog) -> None:
    """Payloads and vectors of hits are those of the items, in the order of the hits."""
    collection = made(open_catalog, id_type=IdType.STRING)
    batch = batch_of(range(60), IdType.STRING, 1, [b'{"n": %d}' % n for n in range(60)])
    put(collection, batch)
    hits = collection.search(
        SearchRequest("things", floats(2, 2, DIM), 70, with_payloads=True, with_vectors=True)
    )
    assert hits.payloads is not None
    assert hits.vectors is not None
    for row in range(2):
        for place, value in enumerate(hits.ids[row, :60]):
            number = int(str(value).removeprefix("item-"))
            assert hits.payloads[row][place] == {"n": number}
            np.testing.assert_array_equal(hits.vectors[row, place], batch.vectors[number])
        assert np.isnan(hits.vectors[row, 60:]).all()


def test_a_threshold_cuts(open_catalog: OpenCatalog) -> None:
    """Hits that score less than the threshold are left out, those that score it stay."""
    collection = made(open_catalog, Metric.DOT)
    put(collection, batch_of(range(100)))
    everything = search(collection, floats(3, 1, DIM), 100)
    threshold = float(everything.scores[0, 30])
    request = SearchRequest("things", floats(3, 1, DIM), 100, score_threshold=threshold)
    hits = collection.search(request)
    assert hits.counts.tolist() == [31]
    assert hits.ids[0, :31].tolist() == everything.ids[0, :31].tolist()


def test_reads_out_of_range_are_refused(open_catalog: OpenCatalog) -> None:
    """Pages, tokens and batches of ids have limits and types as well."""
    collection = made(open_catalog, limits=Limits(batch_rows=40))
    for size in (0, 41):
        with pytest.raises(InvalidRequest, match="page_size: expected 1 to 40"):
            collection.scroll(size, b"")
    with pytest.raises(InvalidRequest, match="page_token"):
        collection.scroll(10, b"nonsense")
    with pytest.raises(InvalidRequest, match="ids: expected 1 to 40, got 0"):
        collection.get(ids_of(range(0), IdType.INT64))
    with pytest.raises(InvalidRequest, match="ids: expected 1 to 40, got 41"):
        collection.delete(ids_of(range(41), IdType.INT64))
    with pytest.raises(InvalidRequest, match="expected int64 ids, got string ids"):
        collection.get(ids_of(range(2), IdType.STRING))
    with pytest.raises(InvalidRequest, match="expected int64 ids, got string ids"):
        collection.delete(ids_of(range(2), IdType.STRING))


def test_a_scroll_shows_every_item_that_stays(open_catalog: OpenCatalog) -> None:
    """Items written or deleted meanwhile do not make a scroll miss or repeat the others."""
    collection = made(open_catalog)
    put(collection, batch_of(range(0, 200, 2)))
    first = collection.scroll(30, b"")
    collection.delete(np.array([0, 58, 60, 100])).result(WAIT_S)
    put(collection, batch_of(range(1, 200, 2), seed=2))
    seen, token = first.items.ids.tolist(), first.next_page_token
    while token:
        page = collection.scroll(30, token, with_vectors=False, with_payloads=False)
        assert page.items.vectors is None
        assert page.items.payload_blobs is None
        seen += page.items.ids.tolist()
        token = page.next_page_token
    assert seen == sorted(set(seen))
    assert set(range(0, 200, 2)) - {60, 100} <= set(seen)
    assert not {60, 100} & set(seen)


def test_items_are_read_in_the_order_asked(open_catalog: OpenCatalog) -> None:
    """`get` answers in the caller's order, an id asked for twice twice, and lists the missing."""
    collection = made(open_catalog)
    put(collection, batch_of(range(10)))
    got = collection.get(np.array([7, 99, 3, 7, -5]), with_payloads=False)
    assert got.ids.tolist() == [7, 3, 7]
    assert got.missing.tolist() == [99, -5]
    assert got.payload_blobs is None
    assert got.vectors is not None
    np.testing.assert_array_equal(got.vectors, floats(1, 10, DIM)[[7, 3, 7]])


def test_a_full_disk_refuses_the_write_and_changes_no_answer(open_catalog: OpenCatalog) -> None:
    """What could not be stored is not shown either; reads go on, and writes once there is room."""
    collection = made(open_catalog)
    model = Model(DIM, IdType.INT64)
    batch = batch_of(range(300))
    put(collection, batch)
    model.put(batch)
    database = collection._store._writer
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages + 1}")
    refused = collection.upsert(batch_of(range(250, 20_000), seed=2))
    with pytest.raises(Overloaded, match="disk is full"):
        refused.result(WAIT_S)
    check(collection, model, floats(3, 2, DIM))
    database.execute("PRAGMA max_page_count = 1000000")
    later = batch_of(range(290, 320), seed=3)
    put(collection, later)
    model.put(later)
    check(collection, model, floats(3, 2, DIM))
