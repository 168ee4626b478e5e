"""The engine end to end: real processes, real embeddings, brute force as the oracle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests import oracle
from tests.oracle import recall

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.model import Floats, Rows
from fanlight.topk import TopK

pytestmark = pytest.mark.slow

DATA = Path(__file__).resolve().parents[2] / "examples" / "debian_minilm_8k"
BASE: Floats = np.load(DATA / "base.npy").astype(np.float32)
QUERIES: Floats = np.load(DATA / "queries.npy").astype(np.float32)
DIM = BASE.shape[1]
K = 10
# Small heads and little idle time, so that a few thousand rows go through every stage of a shard
# and all of them end in one graph.
EAGER = {"index": {"head_bytes": 1 << 19, "idle_s": 0.2, "idle_rows_min": 1, "segments_max": 1}}


def brute_force(ids: Rows, vectors: Floats, queries: Floats, k: int) -> TopK:
    """Find the k best by cosine in float64, rounded once, equal scores by ascending id."""
    wide, wanted = vectors.astype(np.float64), queries.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(wanted, axis=1)[:, None]
    scores = (wanted @ wide.T / lengths).clip(-1, 1).astype(np.float32)
    order = np.lexsort((np.broadcast_to(ids, scores.shape), -scores), axis=1)[:, :k]
    counts = np.full(len(queries), min(k, len(ids)))
    return TopK(ids[order], np.take_along_axis(scores, order, axis=1), counts)


def assert_exact(hits: fanlight.Hits, expected: TopK) -> None:
    np.testing.assert_array_equal(hits.ids, expected.ids)
    np.testing.assert_array_equal(hits.scores, expected.scores)
    np.testing.assert_array_equal(hits.counts, expected.counts)


def at_rest(collection: fanlight.Collection) -> Callable[[], bool]:
    """Tell whether every item is in a graph, and each of the 3 shards has one segment."""

    def condition() -> bool:
        info = collection.info()
        return info.unindexed_items == 0 and info.segments == 3

    return condition


@dataclass(frozen=True, slots=True)
class Loaded:
    """A running cluster that holds the example data in "debian"."""

    cluster: LocalCluster
    client: fanlight.Client
    debian: fanlight.Collection


@pytest.fixture(scope="module")
def loaded(cluster: LocalCluster, client: fanlight.Client) -> Loaded:
    """Load the 8,000 example embeddings into a module's cluster."""
    debian = client.create_collection("debian", dim=DIM)
    debian.upsert(np.arange(len(BASE)), BASE)
    return Loaded(cluster, client, debian)


@pytest.fixture
def scratch(client: fanlight.Client) -> Iterator[fanlight.Collection]:
    """Make an empty collection for one test."""
    yield client.create_collection("scratch", dim=4)
    client.delete_collection("scratch")


def test_exact_search_is_brute_force(loaded: Loaded) -> None:
    """`exact=True` gives exactly the brute-force answer over all shards, ties by id."""
    hits = loaded.debian.search(QUERIES, k=100, exact=True)

    assert_exact(hits, brute_force(np.arange(len(BASE)), BASE, QUERIES, 100))
    assert hits.coverage.complete
    assert hits.coverage.items_covered == hits.coverage.items_total == len(BASE)


def test_recall_on_real_embeddings(loaded: Loaded, wait_until: Callable[..., None]) -> None:
    """The graph finds at least 0.98 of the ten nearest of real queries, with default settings."""
    wait_until(lambda: loaded.debian.info().segments >= 3, 60)
    hits = loaded.debian.search(QUERIES, k=K)

    expected = brute_force(np.arange(len(BASE)), BASE, QUERIES, K)
    assert recall(TopK(hits.ids, hits.scores, hits.counts), expected) >= 0.98


def test_one_query_and_a_batch_agree(loaded: Loaded) -> None:
    """A query gets the same answer alone, in a batch, and beside other callers' queries."""
    batch = loaded.debian.search(QUERIES[:20], k=K, exact=True)
    for row in range(20):
        alone = loaded.debian.search(QUERIES[row], k=K, exact=True)
        np.testing.assert_array_equal(alone.ids[0], batch.ids[row])
        np.testing.assert_array_equal(alone.scores[0], batch.scores[row])


def test_a_shard_serves_the_same_interface(loaded: Loaded) -> None:
    """A client may talk to one shard directly and gets that shard's part of the answer."""
    whole = loaded.debian.search(QUERIES[:5], k=K, exact=True)
    parts = []
    for name in ("shard-0", "shard-1", "shard-2"):
        with fanlight.Client(loaded.cluster.process(name).address) as direct:
            parts.append(direct.collection("debian").search(QUERIES[:5], k=K, exact=True))

    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    order = np.lexsort((ids, -scores), axis=1)[:, :K]
    np.testing.assert_array_equal(whole.ids, np.take_along_axis(ids, order, axis=1))
    assert sum(part.coverage.items_covered for part in parts) == len(BASE)


def test_every_item_can_be_read_back(loaded: Loaded) -> None:
    """`get` returns the vectors as they were put, `scroll` every item once, `count` all."""
    got = loaded.debian.get([7_999, 0, 123_456, 17])
    np.testing.assert_array_equal(got.ids, [7_999, 0, 17])
    np.testing.assert_array_equal(got.missing, [123_456])
    np.testing.assert_array_equal(got.vectors, BASE[[7_999, 0, 17]])
    assert loaded.debian.count() == len(BASE)

    pages = list(loaded.debian.scroll(page_size=700, with_payloads=False))
    seen = np.concatenate([page.ids for page in pages])
    np.testing.assert_array_equal(np.sort(seen), np.arange(len(BASE)))


def test_an_acknowledged_write_is_in_the_next_answer(scratch: fanlight.Collection) -> None:
    """After an upsert the next search finds the item; after a delete it never does again."""
    rng = np.random.default_rng(3)
    for id_ in range(60):
        vector = rng.normal(size=4).astype(np.float32)
        scratch.upsert([id_], vector[None, :])
        assert scratch.search(vector, k=1).ids[0, 0] == id_
        scratch.delete([id_])
        assert id_ not in scratch.search(vector, k=K).ids
    assert scratch.count() == 0


def test_an_upsert_replaces_the_whole_item(scratch: fanlight.Collection) -> None:
    """An upsert of an existing id replaces its vector and its payload."""
    scratch.upsert([1], [[1.0, 0, 0, 0]], [{"a": 1}])
    scratch.upsert([1], [[0, 1.0, 0, 0]])

    hits = scratch.search([0, 1.0, 0, 0], k=K, with_payloads=True, with_vectors=True)
    np.testing.assert_array_equal(hits.counts, [1])
    assert hits.scores[0, 0] == 1.0
    assert hits.payloads == [[None]]
    assert hits.vectors is not None
    np.testing.assert_array_equal(hits.vectors[0, 0], [0, 1, 0, 0])


def test_fewer_items_than_k_are_fewer_hits(scratch: fanlight.Collection) -> None:
    """With fewer than k items the answer is padded, and `counts` says how many are real."""
    scratch.upsert([5, 6], [[1.0, 0, 0, 0], [1.0, 1, 0, 0]])
    hits = scratch.search([1.0, 0, 0, 0], k=5)

    np.testing.assert_array_equal(hits.ids, [[5, 6, -1, -1, -1]])
    np.testing.assert_array_equal(hits.counts, [2])
    assert np.isnan(hits.scores[0, 2:]).all()


def test_items_find_their_neighbours(loaded: Loaded) -> None:
    """A search by id equals a search by that item's vector, without the item itself."""
    by_id = loaded.debian.search_by_id([17, 4_000], k=K, exact=True)
    by_vector = loaded.debian.search(BASE[[17, 4_000]], k=K + 1, exact=True)
    for row, own in enumerate((17, 4_000)):
        expected = [id_ for id_ in by_vector.ids[row].tolist() if id_ != own][:K]
        assert by_id.ids[row].tolist() == expected


@pytest.mark.parametrize("metric", list(fanlight.Metric))
def test_string_ids_and_other_metrics(client: fanlight.Client, metric: fanlight.Metric) -> None:
    """With string ids, too, every metric gives exactly the brute-force answer, larger is better."""
    vectors, queries = BASE[:300] * 2, QUERIES[:10]
    names = np.array([f"pkg/{row:03}-ü" for row in range(300)], dtype=object)
    items = client.create_collection(f"s-{metric}", dim=DIM, metric=metric, id_type="string")
    items.upsert(names.tolist(), vectors)
    hits = items.search(queries, k=3, exact=True)

    expected = oracle.best(metric, queries, names, vectors, 3)
    oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), expected)
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    assert items.delete(names[:5].tolist()).deleted == 5
    assert items.get([names[0]]).missing.tolist() == [names[0]]
    client.delete_collection(f"s-{metric}")


def test_one_bad_row_does_not_fail_its_neighbours(scratch: fanlight.Collection) -> None:
    """A refused row changes nothing, is named with its reason, and the others are written."""
    scratch.upsert([1], [[1.0, 0, 0, 0]])
    vectors = np.array([[np.nan, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [np.inf, 0, 0, 0]])
    result = scratch.upsert([1, 2, 3, 4], vectors, errors="return")

    assert [error.row for error in result.errors] == [0, 1, 3]
    assert result.written == 1
    got = scratch.get([1, 2, 3, 4])
    np.testing.assert_array_equal(got.ids, [1, 3])
    assert got.vectors is not None
    np.testing.assert_array_equal(got.vectors[0], [1, 0, 0, 0])


def test_one_bad_query_does_not_fail_its_neighbours(loaded: Loaded) -> None:
    """A query with a NaN gets its own error; the others are answered."""
    queries = QUERIES[:3].copy()
    queries[1, 5] = np.nan
    hits = loaded.debian.search(queries, k=K, exact=True, errors="return")

    assert list(hits.errors) == [1]
    assert "position 5" in str(hits.errors[1])
    np.testing.assert_array_equal(hits.counts, [K, 0, K])
    expected = brute_force(np.arange(len(BASE)), BASE, QUERIES[[0, 2]], K)
    np.testing.assert_array_equal(hits.ids[[0, 2]], expected.ids)


BAD_CALLS: list[tuple[str, Callable[[fanlight.Collection], object], str]] = [
    ("dim", lambda c: c.search([1.0, 2.0]), "vectors: expected dimension 4, got 2"),
    ("k", lambda c: c.search([1.0, 0, 0, 0], k=0), "k: expected 1 to"),
    ("huge k", lambda c: c.search([1.0, 0, 0, 0], k=10_001), "k: expected 1 to 10000, got 10001"),
    ("ef", lambda c: c.search([1.0, 0, 0, 0], ef_search=0), "ef_search: expected 1 to"),
    ("id type", lambda c: c.upsert(["a"], [[1.0, 0, 0, 0]]), "ids: expected int64 ids"),
    ("empty", lambda c: c.upsert([], np.empty((0, 4))), "ids"),
    ("payload", lambda c: c.upsert([1], [[1.0, 0, 0, 0]], [{"x": "y" * 70_000}]), "payloads"),
    ("coverage", lambda c: c.search([1.0, 0, 0, 0], min_coverage=1.5), "min_coverage"),
]


@pytest.mark.parametrize(
    ("call", "text"), [c[1:] for c in BAD_CALLS], ids=[c[0] for c in BAD_CALLS]
)
def test_bad_input_gets_a_clear_answer(
    scratch: fanlight.Collection, call: Callable[[fanlight.Collection], object], text: str
) -> None:
    """A bad request is refused with the field, what was expected and what came."""
    with pytest.raises(fanlight.InvalidRequest) as caught:
        call(scratch)

    assert text in str(caught.value)
    assert scratch.count() == 0


def test_an_unknown_collection_is_not_found(client: fanlight.Client) -> None:
    """Any use of a collection that does not exist says so."""
    ghost = client.collection("ghost")
    for call in (ghost.count, ghost.info, lambda: ghost.search([1.0])):
        with pytest.raises(fanlight.NotFound, match="ghost"):
            call()


def test_creating_twice(client: fanlight.Client, scratch: fanlight.Collection) -> None:
    """Creating again with the same parameters is harmless, with others an error."""
    client.create_collection("scratch", dim=4)
    with pytest.raises(fanlight.AlreadyExists, match="dim 4, not 5"):
        client.create_collection("scratch", dim=5)


def test_stop_and_start_change_nothing(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """After stop and start the answers are the same and no graph is rebuilt."""
    with (
        start_cluster(server=EAGER) as cluster,
        fanlight.Client(cluster.address) as client,
    ):
        items = client.create_collection("items", dim=DIM)
        items.upsert(np.arange(4_000), BASE[:4_000], [{"row": row} for row in range(4_000)])
        items.delete(np.arange(0, 4_000, 50))
        wait_until(at_rest(items), 60)
        before = items.search(QUERIES, k=K, with_payloads=True)
        files = segment_files(tmp_path)
    assert files

    with (
        start_cluster(server=EAGER) as cluster,
        fanlight.Client(cluster.address) as client,
    ):
        items = client.collection("items")
        after = items.search(QUERIES, k=K, with_payloads=True)
        assert segment_files(tmp_path) == files

    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert after.payloads == before.payloads
    assert after.coverage == before.coverage


def segment_files(path: Path) -> dict[str, int]:
    """List segment files with their inodes: a file written again gets another."""
    return {str(file): os.stat(file).st_ino for file in sorted(path.rglob("*.seg"))}


def test_a_dead_shard_and_its_return(
    start_cluster: Callable[..., LocalCluster], wait_until: Callable[..., None]
) -> None:
    """A dead shard is named; partial answers are marked; its return needs no restart elsewhere."""
    with start_cluster() as cluster, fanlight.Client(cluster.address) as client:
        items = client.create_collection("items", dim=DIM)
        items.upsert(np.arange(900), BASE[:900])
        complete = items.search(QUERIES[:5], k=K, exact=True)
        with fanlight.Client(cluster.process("shard-1").address) as direct:
            on_shard_1 = direct.collection("items").count()

        cluster.kill("shard-1")

        with pytest.raises(fanlight.PartialResult, match="shard-1") as caught:
            items.search(QUERIES[:5], k=K)
        assert caught.value.coverage is not None
        assert caught.value.coverage.shards_answered == 2
        hits = items.search(QUERIES[:5], k=K, exact=True, min_coverage=0.5)
        coverage = hits.coverage
        assert (coverage.shards_answered, coverage.shards_total) == (2, 3)
        assert (coverage.items_covered, coverage.items_total) == (900 - on_shard_1, 900)
        assert [failure.shard for failure in coverage.failures] == ["shard-1"]
        with pytest.raises(fanlight.PartialResult, match="shard-1"):
            client.list_collections()
        (info,) = client.list_collections(min_coverage=0.5)
        assert info.items == items.count(min_coverage=0.5) == 900 - on_shard_1
        unreachable = fanlight.ShardState.UNREACHABLE
        assert [shard.state for shard in client.status().shards].count(unreachable) == 1
        remaining = set(complete.ids.ravel().tolist()) & set(hits.ids.ravel().tolist())
        assert remaining
        refused = items.upsert(np.arange(900), BASE[:900], errors="return", timeout=5)
        assert len(refused.errors) == on_shard_1
        assert all("shard-1" in str(error.error) for error in refused.errors)

        cluster.restart("shard-1")
        wait_until(lambda: complete_again(items), 20)
        again = items.search(QUERIES[:5], k=K, exact=True)
        np.testing.assert_array_equal(again.ids, complete.ids)


def complete_again(items: fanlight.Collection) -> bool:
    return items.search(QUERIES[:1], k=1, min_coverage=0.1).coverage.complete


def test_a_killed_cluster_loses_nothing_acknowledged(
    start_cluster: Callable[..., LocalCluster], wait_until: Callable[..., None]
) -> None:
    """After a crash of all shards in the middle of writes every acknowledged row is there."""
    with start_cluster(server=EAGER) as cluster:
        with fanlight.Client(cluster.address) as client:
            items = client.create_collection("items", dim=DIM)
            for start in range(0, 3_000, 250):
                rows = np.arange(start, start + 250)
                items.upsert(rows, BASE[rows])
        for name in ("shard-0", "shard-1", "shard-2"):
            cluster.kill(name)
            cluster.restart(name)
        with fanlight.Client(cluster.address) as client:
            items = client.collection("items")
            wait_until(lambda: complete_again(items), 20)
            hits = items.search(QUERIES[:20], k=K, exact=True)

    assert_exact(hits, brute_force(np.arange(3_000), BASE[:3_000], QUERIES[:20], K))


def test_a_shard_of_another_cluster_is_refused(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    """A data directory belongs to one place of one shard map; another one is refused by name."""
    with start_cluster(shards=2):
        pass
    with (
        pytest.raises(fanlight.FanlightError, match="shard 0 of 2"),
        start_cluster(shards=3),
    ):
        pass


def test_every_item_is_on_exactly_one_shard(loaded: Loaded) -> None:
    """The cluster's status counts every item once, spread evenly over the shards."""
    counts = [
        info.items
        for shard in loaded.client.status().shards
        for info in shard.collections
        if info.spec.name == "debian"
    ]
    assert len(counts) == 3
    assert sum(counts) == len(BASE)
    assert min(counts) > len(BASE) / 3 * 0.9
