"""What is measured on real graphs: tuning, and recall by filter; brute force says what recall is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tests.wire.both_colours import COLOURS, clients

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig
from fanlight.errors import InvalidRequest, NotFound
from fanlight.evaluation import filters_by, measure_shares
from fanlight.filters import FieldType

pytestmark = pytest.mark.slow

ROWS, DIM, K = 8_000, 24, 10
RNG = np.random.default_rng(31)
VECTORS = RNG.standard_normal((ROWS, DIM), dtype=np.float32)
QUERIES = RNG.standard_normal((200, DIM), dtype=np.float32)
IDS = np.arange(ROWS) * 3
UNITS = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
FIELDS = {"price": "float", "name": "keyword"}
PRICES = np.round(RNG.exponential(20, ROWS), 2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Run two shards that index what they hold as soon as nobody writes."""
    shape = ClusterShape(shards=2, port=0, data=tmp_path_factory.mktemp("cluster"))
    index = {"idle_s": 0.1, "idle_rows_min": 64, "segments_max": 1}
    with LocalCluster(LocalConfig(cluster=shape, server={"index": index})) as running:
        yield running


def at_rest(info: fanlight.CollectionInfo) -> bool:
    """Tell whether each shard has one graph that holds all its items."""
    return (info.unindexed_items, info.segments) == (0, 2)


@pytest.fixture(params=COLOURS)
def rough(
    request: pytest.FixtureRequest, cluster: LocalCluster, wait_until: Callable[..., None]
) -> Iterator[Any]:
    """Give a collection whose graphs have so few links that a short walk misses much."""
    with clients(request.param) as connect:
        client = connect(cluster.address)
        collection = client.create_collection(
            "rough", dim=DIM, m=4, ef_construction=32, filterable=FIELDS
        )
        if not collection.count():
            payloads = [{"price": price} for price in PRICES.tolist()]
            collection.upsert(IDS, VECTORS, payloads)
        wait_until(lambda: at_rest(collection.info()), 90)
        yield collection


def recall(hits: fanlight.Hits, queries: Any, *, itself: bool) -> float:
    """Compare hits with all scores; a query that is an item is not found by itself."""
    order = np.argsort(-(queries @ UNITS.T), axis=1)[:, int(itself) : K + int(itself)]
    best = IDS[order]
    return float(
        np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(hits.ids, best, strict=True)])
    )


def test_searches_have_the_recall_from_then_on(rough: Any, cluster: LocalCluster) -> None:
    """The choice reaches the target, little less does not, and it is what searches then use."""
    before = recall(rough.search(QUERIES, k=K, ef_search=K), QUERIES, itself=False)
    tuning = rough.tune(QUERIES, recall=0.95, k=K)
    assert before < 0.95 <= tuning.recall
    assert (tuning.stored, tuning.curve.queries, tuning.curve.k) == (False, len(QUERIES), K)
    tuned = rough.search(QUERIES, k=K)
    np.testing.assert_array_equal(
        tuned.ids, rough.search(QUERIES, k=K, ef_search=tuning.ef_search).ids
    )
    assert recall(tuned, QUERIES, itself=False) == pytest.approx(tuning.recall, abs=1e-9)
    less = rough.search(QUERIES, k=K, ef_search=int(tuning.ef_search * 0.8))
    assert recall(less, QUERIES, itself=False) < 0.95
    for point in tuning.curve.points:
        hits = rough.search(QUERIES, k=K, ef_search=point.ef_search)
        assert recall(hits, QUERIES, itself=False) == pytest.approx(point.recall, abs=1e-9)
        assert point.low <= point.recall <= point.high
    # whoever asks has it
    with fanlight.Client(cluster.address) as client:
        np.testing.assert_array_equal(client.collection("rough").search(QUERIES).ids, tuned.ids)
    assert rough.info().spec.ef_search == tuning.ef_search
    # what a search says itself counts, and an explanation is of the same search
    short = rough.search(QUERIES, k=K, ef_search=K)
    assert recall(short, QUERIES, itself=False) == pytest.approx(before)
    why = rough.explain(QUERIES[0], int(tuned.ids[0, -1]), k=K)
    assert why.place == K - 1


def test_items_are_queries_too(rough: Any) -> None:
    """By id, or a sample of what is stored; each item itself is no hit."""
    rows = np.arange(0, ROWS, 100)
    given = rough.tune(IDS[rows], recall=0.9, k=K)
    hits = rough.search_by_id(IDS[rows], k=K)
    assert recall(hits, VECTORS[rows], itself=True) == pytest.approx(given.recall, abs=1e-9)
    sampled, again = rough.tune(recall=0.9, k=K), rough.tune(recall=0.9, k=K)
    assert (sampled.stored, sampled.curve.queries) == (True, 500)
    assert sampled.ef_search == again.ef_search
    measured = rough.tune(IDS[rows], recall=0.1, k=K, keep=False)
    assert rough.info().spec.ef_search == again.ef_search != measured.ef_search


def test_a_target_out_of_reach_changes_nothing(rough: Any) -> None:
    """The best that was found is told, and searches stay as they were."""
    plain = rough.search(QUERIES, k=K)
    tuning = rough.tune(QUERIES, recall=1.0, k=K, max_ef_search=20)
    assert tuning.ef_search is None
    assert tuning.best.ef_search == 20
    np.testing.assert_array_equal(rough.search(QUERIES, k=K).ids, plain.ids)


def test_the_default_stays(start_cluster: Callable[..., LocalCluster]) -> None:
    """It is on the disks of all shards, and is the collection's own until somebody changes it."""
    with start_cluster(shards=2) as cluster, fanlight.Client(cluster.address) as client:
        things = client.create_collection("things", dim=DIM, filterable=FIELDS)
        things.upsert(IDS[:50], VECTORS[:50])
        chosen = things.tune(recall=0.9, k=5).ef_search
        assert chosen == 5
        client.update_collection("things", drop_fields=["name"])
    with start_cluster(shards=2) as cluster, fanlight.Client(cluster.address) as client:
        spec = client.get_collection("things").spec
        assert (spec.ef_search, list(spec.filterable)) == (5, ["price"])
        # who creates it again finds it as it is
        client.create_collection("things", dim=DIM, filterable={"price": "float"})
        for ef, kept in ((70, 70), (70, 70), (0, None)):
            client.update_collection("things", ef_search=ef)
            assert client.get_collection("things").spec.ef_search == kept
        with pytest.raises(InvalidRequest, match="ef_search: expected 0 to 10000, got 10001"):
            client.update_collection("things", ef_search=10_001)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"recall": 1.5}, "recall: expected 0 to 1, got 1.5"),
        ({"k": 0}, "k: expected 1 to"),
        ({"k": 30, "max_ef_search": 20}, "max_ef_search: expected at least k, 30, got 20"),
        ({"queries": QUERIES[:0]}, "queries: expected at least 1 row, got 0"),
        ({"queries": []}, "ids: expected at least 1 row, got 0"),
        ({"queries": [0.5]}, "ids: expected integers or strings"),
    ],
)
def test_bad_arguments_are_named(rough: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        rough.tune(**arguments)


def test_nothing_to_tune(rough: Any, cluster: LocalCluster) -> None:
    """An unknown item, an empty collection and one that is not there are said to be so."""
    with pytest.raises(NotFound):
        rough.tune([1])
    with fanlight.Client(cluster.address) as client:
        with pytest.raises(NotFound):
            client.collection("nowhere").tune()
        empty = client.create_collection("empty", dim=DIM)
        with pytest.raises(InvalidRequest, match="queries: expected some, or a collection with"):
            empty.tune()


def test_recall_by_the_share_that_filters_leave(rough: Any) -> None:
    """Filters leave the shares that were wanted; recall is that of brute force among the rest."""
    wanted = {1.0: ROWS, 0.5: 4_000, 0.1: 800, 0.005: 40}
    filters = filters_by("price", rough.info().spec.filterable, tuple(wanted), rough.count)
    filters |= {"none": {"price": {"gt": float(PRICES.max())}}}
    measured = measure_shares(rough.search, rough.count, QUERIES, filters, k=K, efs=(K, 200))
    assert measured[0].label == "all items"
    assert len(measured) == len(wanted)
    for share, items in zip(measured, wanted.values(), strict=True):
        filter = filters[share.label]
        allowed = (filter["price"]["gte"] if filter else 0) <= PRICES
        # prices are not all different, so a few more may be left
        assert items <= share.items == allowed.sum() <= items + 20
        assert share.share == share.items / ROWS
        scores = np.where(allowed, QUERIES @ UNITS.T, -np.inf)
        best = IDS[np.argsort(-scores, axis=1)[:, :K]]
        for point in share.curve.points:
            hits = rough.search(QUERIES, k=K, ef_search=point.ef_search, filter=filter)
            found = [len(np.intersect1d(a, b)) / K for a, b in zip(hits.ids, best, strict=True)]
            assert np.mean(found) == pytest.approx(point.recall, abs=1e-9)
    assert measured[0].curve.points[0].recall < 0.95


def test_a_field_without_order_is_refused(rough: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"by: expected a filterable number or time \(price\)"):
        filters_by(
            "name", {"price": FieldType.FLOAT, "name": FieldType.KEYWORD}, (0.5,), rough.count
        )
