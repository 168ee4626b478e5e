"""What both clients do, over a real gRPC server with a fake router behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from tests.wire.both_colours import COLOURS, Connect, clients
from tests.wire.fake_router import COVERAGE, FakeRouter, brute_force, fake_routers

import fanlight
from fanlight.errors import FanlightError
from fanlight.model import CollectionSpec
from fanlight.retry import RetryPolicy
from fanlight.wire import codec


@pytest.fixture
def router() -> Iterator[FakeRouter]:
    with fake_routers() as start:
        yield start()


@pytest.fixture(params=COLOURS)
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    with clients(request.param) as connect:
        yield connect


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = partial(RetryPolicy, first_pause_s=0.002)
    monkeypatch.setattr("fanlight.operations.RetryPolicy", policy)


def vectors_of(n: int, dim: int = 4, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def movies_of(client: fanlight.Client, **changed: Any) -> fanlight.Collection:
    return client.create_collection("movies", **{"dim": 4, "metric": "dot", **changed})


# --- what a client does -----------------------------------------------------------------------


def test_collections_come_and_go(router: FakeRouter, connect: Connect) -> None:
    """A collection is created, created again alike, described, listed and deleted."""
    client = connect(router.address)
    movies_of(client)
    movies = movies_of(client)
    info = movies.info()
    assert info.spec == CollectionSpec("movies", dim=4, metric=fanlight.Metric.DOT)
    assert client.get_collection("movies") == info
    assert client.list_collections() == [info]
    with pytest.raises(fanlight.AlreadyExists):
        movies_of(client, dim=5)
    client.delete_collection("movies")
    assert client.list_collections() == []
    with pytest.raises(fanlight.NotFound, match="no collection is named movies") as caught:
        movies.count()
    assert caught.value.field == "collection"
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("id_type", ["int64", "string"])
def test_items_are_written_read_and_deleted(
    router: FakeRouter, connect: Connect, id_type: str
) -> None:
    """What was put comes back by id and by scrolling until it is deleted."""
    movies = movies_of(connect(router.address), id_type=id_type)
    ids: Any = ["a", "ä", "c"] if id_type == "string" else [5, -6, 2**60]
    absent: Any = "z" if id_type == "string" else 1
    vectors = vectors_of(3)
    assert movies.upsert(ids, vectors, [{"ü": 1}, None, {}]).written == 3
    got = movies.get([ids[2], absent, ids[0]])
    assert (got.ids.tolist(), got.missing.tolist()) == ([ids[2], ids[0]], [absent])
    np.testing.assert_array_equal(got.vectors, vectors[[2, 0]])
    assert got.payloads == [{}, {"ü": 1}]
    pages = list(movies.scroll(page_size=2, with_vectors=False))
    assert [page.ids.tolist() for page in pages] == [ids[:2], ids[2:]]
    assert pages[0].vectors is None
    assert movies.delete([ids[0], absent]).deleted == 1
    assert movies.count() == 2


def test_an_empty_collection_has_no_pages(router: FakeRouter, connect: Connect) -> None:
    """Scrolling through nothing gives nothing."""
    assert list(movies_of(connect(router.address)).scroll()) == []


@pytest.mark.slow
def test_large_batches_travel_in_parts(router: FakeRouter, connect: Connect) -> None:
    """Writes, reads, searches and deletions of any size are one call for the caller."""
    movies = movies_of(connect(router.address))
    ids, vectors = np.arange(9_000), vectors_of(9_000)
    assert movies.upsert(ids, vectors, progress=False).written == 9_000
    got = movies.get(ids[:1_200], with_payloads=False)
    np.testing.assert_array_equal(got.ids, ids[:1_200])
    np.testing.assert_array_equal(got.vectors, vectors[:1_200])
    queries = vectors_of(600, seed=2)
    hits = movies.search(queries, k=3)
    expected = brute_force(queries, router.collections["movies"], k=3)
    np.testing.assert_array_equal(hits.ids, expected.ids)
    np.testing.assert_allclose(hits.scores, expected.scores, rtol=1e-5)
    assert movies.delete(ids).deleted == 9_000
    parts = {name: len(requests) for name, requests in router.requests.items()}
    assert parts == {
        "CreateCollection": 1,
        "UpsertItems": 2,
        "GetItems": 3,
        "Search": 3,
        "DeleteItems": 2,
    }


def test_requests_of_one_upload_overlap(router: FakeRouter, connect: Connect) -> None:
    """Several requests of a large upload are under way at the same time."""
    movies = movies_of(connect(router.address))
    together = threading.Barrier(3, timeout=20)
    router.before = lambda method: together.wait()
    assert movies.upsert(np.arange(20_000), vectors_of(20_000), progress=False).written == 20_000


def test_hits_come_with_their_columns(router: FakeRouter, connect: Connect) -> None:
    """Hits carry payloads, vectors and coverage, and are padded where there are too few."""
    movies = movies_of(connect(router.address))
    vectors = vectors_of(2)
    movies.upsert([1, 2], vectors, [{"n": 1}, {"n": 2}])
    hits = movies.search(vectors[0], k=3, with_payloads=True, with_vectors=True)
    assert hits.ids.shape == (1, 3)
    assert hits.counts.tolist() == [2]
    assert hits.ids[0, 2] == -1
    assert np.isnan(hits.scores[0, 2])
    assert hits.payloads == [[{"n": int(i)} for i in hits.ids[0, :2]]]
    assert hits.vectors is not None
    np.testing.assert_array_equal(hits.vectors[0, :2], vectors[hits.ids[0, :2] - 1])
    assert hits.coverage == COVERAGE


def test_items_find_their_like(router: FakeRouter, connect: Connect) -> None:
    """A search by id leaves out the item itself."""
    movies = movies_of(connect(router.address), id_type="string")
    movies.upsert(["a", "b", "c"], [[1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]])
    hits = movies.search_by_id(["c", "a"], k=3)
    assert hits.ids.tolist() == [["b", "a", None], ["c", "b", None]]


@pytest.mark.parametrize("dtype", ["f8", "f2", "i1", "i8"])
def test_all_kinds_of_numbers_are_taken(router: FakeRouter, connect: Connect, dtype: str) -> None:
    """Vectors of any numeric type are stored by their value."""
    movies = movies_of(connect(router.address))
    movies.upsert([1], np.array([[1, 2, 3, 4]], dtype=dtype))
    np.testing.assert_array_equal(movies.get([1]).vectors, [[1.0, 2.0, 3.0, 4.0]])


def test_status_tells_how_each_shard_stands(router: FakeRouter, connect: Connect) -> None:
    """The status has every shard with its state and, when it does not serve, the reason."""
    client = connect(router.address)
    movies_of(client).upsert([1], vectors_of(1))
    status = client.status()
    assert not status.complete
    assert [shard.identity.name for shard in status.shards] == ["shard-0", "shard-1"]
    assert status.shards[0].items == 1
    assert isinstance(status.shards[1].error, fanlight.NotReady)


# --- errors -----------------------------------------------------------------------------------


def test_refused_rows_have_their_numbers(router: FakeRouter, connect: Connect) -> None:
    """Bad rows are named as the caller counts, over requests, and the others are written."""
    movies = movies_of(connect(router.address))
    vectors = vectors_of(20_000)
    vectors[[5, 19_000], 2] = np.nan
    with pytest.raises(fanlight.InvalidRequest, match="2 of 20000 rows refused") as caught:
        movies.upsert(np.arange(20_000), vectors, progress=False)
    assert [row.row for row in caught.value.rows] == [5, 19_000]
    assert caught.value.rows[0].error.got == "nan at position 2"
    assert movies.count() == 19_998
    result = movies.upsert([1, 2], vectors[[5, 6]], errors="return")
    assert (result.written, [row.row for row in result.errors]) == (1, [0])


def test_a_failed_query_leaves_the_others(router: FakeRouter, connect: Connect) -> None:
    """A bad query among good ones is named; alone it raises its own error."""
    movies = movies_of(connect(router.address))
    movies.upsert([1, 2], vectors_of(2))
    queries = vectors_of(3)
    queries[1, 0] = np.inf
    with pytest.raises(fanlight.InvalidRequest, match="1 of 3 queries failed") as caught:
        movies.search(queries)
    assert isinstance(caught.value.result, fanlight.Hits)
    assert caught.value.result.counts.tolist() == [2, 0, 2]
    assert list(movies.search(queries, errors="return").errors) == [1]
    with pytest.raises(fanlight.InvalidRequest, match=r"^vectors: expected finite numbers"):
        movies.search(queries[1])


def test_no_answer_ends_at_the_deadline(router: FakeRouter, connect: Connect) -> None:
    """A call that is not answered raises DeadlineExceeded and is not repeated."""
    client = connect(router.address)
    over = threading.Event()
    router.before = lambda method: over.wait(20)
    try:
        with pytest.raises(fanlight.DeadlineExceeded):
            client.list_collections(timeout=0.1)
        with pytest.raises(fanlight.DeadlineExceeded):
            connect(router.address, timeout=0.1).list_collections()
    finally:
        over.set()
    assert len(router.requests["ListCollections"]) == 2


@pytest.mark.parametrize(
    "error", [fanlight.NotReady("loads"), fanlight.Overloaded("full", retry_after_s=0.01)]
)
def test_a_passing_trouble_is_not_seen(
    router: FakeRouter, connect: Connect, error: FanlightError
) -> None:
    """Reads and writes survive three failures that say "not now"."""
    movies = movies_of(connect(router.address))
    for name in ("UpsertItems", "Search", "CreateCollection"):
        router.failures[name].extend([error] * 3)
    movies.upsert([1], vectors_of(1))
    assert movies.search(vectors_of(1), k=1).ids.tolist() == [[1]]
    movies_of(connect(router.address))
    assert len(router.requests["Search"]) == 4


def test_only_what_is_safe_is_repeated(router: FakeRouter, connect: Connect) -> None:
    """A failed deletion of a collection is left to the caller."""
    client = connect(router.address)
    movies_of(client)
    router.failures["DeleteCollection"].append(fanlight.NotReady("loads"))
    with pytest.raises(fanlight.NotReady, match="loads"):
        client.delete_collection("movies")
    assert len(router.requests["DeleteCollection"]) == 1


def test_only_the_rows_that_failed_travel_again(router: FakeRouter, connect: Connect) -> None:
    """When a shard was away for a moment, its rows alone are sent again."""
    movies = movies_of(connect(router.address))
    router.row_failures.append({2: fanlight.NotReady("shard-1 restarts")})
    assert movies.upsert([1, 2, 3], vectors_of(3)).written == 3
    sent = [codec.from_upsert(request).ids.tolist() for request in router.requests["UpsertItems"]]
    assert sent == [[1, 2, 3], [2]]


def test_a_partial_result_tells_the_shards(router: FakeRouter, connect: Connect) -> None:
    """Too few shards raise PartialResult with the coverage, after two attempts."""
    movies = movies_of(connect(router.address))
    coverage = replace(COVERAGE, shards_total=3, shards_answered=2, items_total=None)
    error = fanlight.PartialResult("shard-1: refused", coverage=coverage)
    router.failures["Search"].extend([error] * 9)
    with pytest.raises(fanlight.PartialResult, match="shard-1") as caught:
        movies.search(vectors_of(1))
    assert caught.value.coverage == coverage
    assert len(router.requests["Search"]) == 2
