"""Filtered search end to end: real processes, real payloads, brute force as the oracle."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests import oracle
from tests.cluster.test_promises import (
    BASE,
    DATA,
    DIM,
    EAGER,
    QUERIES,
    K,
    at_rest,
    complete_again,
)
from tests.matching import accepts

import fanlight
from fanlight import field
from fanlight.cli.local_cluster import LocalCluster
from fanlight.conditions import FilterLike, as_filter
from fanlight.model import Floats, IdType, Metric
from fanlight.topk import TopK

pytestmark = pytest.mark.slow

FIELDS = {
    "section": "keyword",
    "tags": "keyword",
    "installed_size_kb": "int",
    "weight": "float",
    "essential": "bool",
}
with gzip.open(DATA / "meta.jsonl.gz", "rt", encoding="utf-8") as lines:
    PACKAGES: list[dict[str, Any]] = [json.loads(line) for line in lines]
for row, package in enumerate(PACKAGES):
    package["weight"] = row / len(PACKAGES)
    if row % 10 == 0:
        package["essential"] = row % 30 == 0
with (DATA / "queries.jsonl").open(encoding="utf-8") as lines:
    SECTIONS: list[str] = [json.loads(line)["section"] for line in lines]

SECTION, TAGS, SIZE, WEIGHT, ESSENTIAL = map(field, FIELDS)
FILTERS: list[FilterLike] = [
    SECTION == "python",
    SECTION != "python",
    SECTION.is_in(["python", "ruby", "no such section"]),
    TAGS == "role::program",
    TAGS.is_in(["role::program", "role::shared-lib"]) & (SIZE < 500),
    ~TAGS.exists() & SIZE.range(gte=100, lte=150),
    (WEIGHT < 0.01) | (WEIGHT >= 0.995),
    WEIGHT < 0.0005,  # four items, on some shards none
    SECTION == "no such section",
    {"essential": True},
    {"essential": {"not": True}, "installed_size_kb": {"gt": 2_000}},
    {"tags": ["role::program", "role::devel-lib"], "section": {"not": ["devel", "libdevel"]}},
]


def assert_best(
    hits: fanlight.Hits, filter: FilterLike, queries: Floats, items: dict[int, Any], k: int = K
) -> None:
    """Hold an exact answer to brute force over the items that the filter accepts."""
    parsed = as_filter(filter)
    ids = [item for item, (_, payload) in items.items() if accepts(parsed, payload)]
    vectors = np.array([items[item][0] for item in ids], dtype=np.float32).reshape(-1, DIM)
    column = np.array(ids, dtype=np.int64)
    expected = oracle.best(Metric.COSINE, queries, column, vectors, k)
    oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), expected)


def stored(rows: range) -> dict[int, Any]:
    return {row: (BASE[row], PACKAGES[row]) for row in rows}


def recall(hits: fanlight.Hits, neighbours: np.ndarray[Any, Any]) -> float:
    wanted = neighbours[:, :K]
    found = sum(
        len(set(a) & set(b) - {-1}) for a, b in zip(hits.ids.tolist(), wanted.tolist(), strict=True)
    )
    return found / int(np.count_nonzero(wanted >= 0))


@pytest.fixture(scope="module")
def debian(client: fanlight.Client) -> fanlight.Collection:
    """Load the example packages with their metadata."""
    collection = client.create_collection("debian", dim=DIM, filterable=FIELDS)
    collection.upsert(np.arange(len(BASE)), BASE, PACKAGES)
    return collection


@pytest.fixture
def scratch(client: fanlight.Client) -> Iterator[fanlight.Collection]:
    """Make an empty collection for one test."""
    yield client.create_collection("scratch", dim=DIM, filterable=FIELDS)
    client.delete_collection("scratch")


@pytest.mark.parametrize("filter", FILTERS, ids=str)
def test_exact_filtered_search_is_brute_force(
    debian: fanlight.Collection, filter: FilterLike
) -> None:
    """`exact=True` gives the best of the items that the filter accepts, over all shards."""
    hits = debian.search(QUERIES[:20], k=K, exact=True, filter=filter)
    assert_best(hits, filter, QUERIES[:20], stored(range(len(BASE))))
    assert hits.coverage.complete
    assert hits.coverage.items_covered == len(BASE)


@pytest.mark.parametrize("filter", FILTERS, ids=str)
def test_a_walk_finds_what_the_filter_leaves(
    debian: fanlight.Collection, filter: FilterLike, wait_until: Callable[..., None]
) -> None:
    """With the graph, too, only accepted items are found, k of them if there are, and the best."""
    wait_until(lambda: debian.info().unindexed_items == 0, 60)
    exact = debian.search(QUERIES, k=K, exact=True, filter=filter)
    hits = debian.search(QUERIES, k=K, filter=filter)
    np.testing.assert_array_equal(hits.counts, exact.counts)
    parsed = as_filter(filter)
    for item in np.unique(hits.ids[hits.ids >= 0]).tolist():
        assert accepts(parsed, PACKAGES[item])
    if exact.counts.any():
        assert recall(hits, exact.ids) >= 0.98


@pytest.mark.parametrize("filter", FILTERS, ids=str)
def test_many_hits_of_few_items(debian: fanlight.Collection, filter: FilterLike) -> None:
    """Where k is large the router asks each shard for its share first; nothing is missing."""
    hits = debian.search(QUERIES[:3], k=2_500, exact=True, filter=filter)
    assert_best(hits, filter, QUERIES[:3], stored(range(len(BASE))), 2_500)


def test_recall_under_the_published_filters(debian: fanlight.Collection) -> None:
    """The two filters with a ground truth of their own: each query's section, and small packages."""
    small = debian.search(QUERIES, k=K, filter=field("installed_size_kb") < 500)
    assert recall(small, np.load(DATA / "neighbors_size_lt_500.npy")) >= 0.98
    truth = np.load(DATA / "neighbors_same_section.npy")
    same = [
        recall(debian.search(query, k=K, filter={"section": section}), truth[[row]])
        for row, (query, section) in enumerate(zip(QUERIES, SECTIONS, strict=True))
        if truth[row, 0] >= 0
    ]
    assert np.mean(same) >= 0.98


def test_items_find_their_neighbours_among_the_accepted(debian: fanlight.Collection) -> None:
    """A query by id need not satisfy the filter, and is never among its own hits."""
    filter = SECTION == "python"
    inside = next(row for row, p in enumerate(PACKAGES) if p["section"] == "python")
    outside = next(row for row, p in enumerate(PACKAGES) if p["section"] != "python")
    hits = debian.search_by_id([inside, outside], k=K, exact=True, filter=filter)
    for row, own in enumerate((inside, outside)):
        items = {item: value for item, value in stored(range(len(BASE))).items() if item != own}
        expected = debian.search(BASE[own], k=K + 1, exact=True, filter=filter).ids[0].tolist()
        assert hits.ids[row].tolist() == [item for item in expected if item != own][:K]
        assert all(accepts(filter, items[item][1]) for item in hits.ids[row].tolist())


def test_the_other_parameters_work_as_ever(debian: fanlight.Collection) -> None:
    """Threshold, payloads and vectors concern the hits that the filter leaves."""
    filter = (SECTION == "python") & (SIZE < 100)
    plain = debian.search(QUERIES[:5], k=K, exact=True, filter=filter)
    threshold = float(plain.scores[0, 4])
    hits = debian.search(
        QUERIES[:5],
        k=K,
        exact=True,
        filter=filter,
        score_threshold=threshold,
        with_payloads=True,
        with_vectors=True,
    )
    assert hits.counts[0] == 5
    assert hits.payloads is not None
    assert hits.vectors is not None
    for row in range(5):
        found = hits.ids[row, : hits.counts[row]]
        assert found.tolist() == [
            item
            for item, score in zip(plain.ids[row], plain.scores[row], strict=True)
            if score >= threshold
        ]
        assert hits.payloads[row] == [PACKAGES[item] for item in found.tolist()]
        np.testing.assert_array_equal(hits.vectors[row, : len(found)], BASE[found.tolist()])


def test_many_callers_with_filters_of_their_own(debian: fanlight.Collection) -> None:
    """Searches under way together get the answers to their own filters."""
    alone = [debian.search(QUERIES[:3], k=K, exact=True, filter=filter) for filter in FILTERS]

    def ask(turn: int) -> None:
        at = turn % len(FILTERS)
        hits = debian.search(QUERIES[:3], k=K, exact=True, filter=FILTERS[at])
        np.testing.assert_array_equal(hits.ids, alone[at].ids)
        np.testing.assert_array_equal(hits.scores, alone[at].scores)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(ask, turn) for turn in range(10 * len(FILTERS))]:
            done.result(60)


def test_a_filter_sees_every_acknowledged_change(
    start_cluster: Callable[..., LocalCluster], wait_until: Callable[..., None]
) -> None:
    """Updates and deletes change what matches at once: in the head, in graphs, after a restart."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    items: dict[int, Any] = {}
    with start_cluster(server=EAGER) as cluster, fanlight.Client(cluster.address) as client:
        collection = client.create_collection("items", dim=DIM, filterable=FIELDS)
        for _ in range(12):
            change(rng, collection, items)
            check(rng, collection, items)
        wait_until(at_rest(collection), 60)
        check(rng, collection, items)
        change(rng, collection, items)
        check(rng, collection, items)
    with start_cluster(server=EAGER) as cluster, fanlight.Client(cluster.address) as client:
        collection = client.collection("items")
        assert collection.info().spec.filterable == FIELDS
        check(rng, collection, items)
        change(rng, collection, items)
        wait_until(at_rest(collection), 60)
        check(rng, collection, items)


def change(rng: random.Random, collection: fanlight.Collection, items: dict[int, Any]) -> None:
    """Write some items, many of them anew with another payload, and delete some."""
    for item in rng.sample(range(2_000), 400):
        items[item] = (BASE[rng.randrange(len(BASE))], rng.choice([*PACKAGES, None]))
        if len(items) % 100 == 0:
            break
    written = rng.sample(sorted(items), min(len(items), 300))
    for item in written:
        items[item] = (items[item][0], rng.choice(PACKAGES) if rng.random() < 0.9 else None)
    ids = sorted(items)
    collection.upsert(ids, np.array([items[i][0] for i in ids]), [items[i][1] for i in ids])
    gone = rng.sample(ids, len(ids) // 10)
    collection.delete(gone)
    for item in gone:
        del items[item]


def check(rng: random.Random, collection: fanlight.Collection, items: dict[int, Any]) -> None:
    """Compare answers under some filters with brute force, and count what was covered."""
    queries = QUERIES[rng.sample(range(len(QUERIES)), 3)]
    for filter in rng.sample(FILTERS, 3):
        hits = collection.search(queries, k=K, exact=True, filter=filter)
        assert_best(hits, filter, queries, items)
        assert hits.coverage.items_covered == len(items)
        walked = collection.search(queries, k=K, filter=filter)
        np.testing.assert_array_equal(walked.counts, hits.counts)


def test_a_killed_shard_keeps_the_fields_of_its_items(
    start_cluster: Callable[..., LocalCluster], wait_until: Callable[..., None]
) -> None:
    """What was in no graph yet is read from the stored payloads."""
    with start_cluster() as cluster:
        with fanlight.Client(cluster.address) as client:
            collection = client.create_collection("items", dim=DIM, filterable=FIELDS)
            collection.upsert(np.arange(300), BASE[:300], PACKAGES[:300])
            assert collection.info().unindexed_items == 300
        cluster.kill("shard-1")
        cluster.restart("shard-1")
        with fanlight.Client(cluster.address) as client:
            collection = client.collection("items")
            wait_until(lambda: complete_again(collection), 20)
            for filter in FILTERS:
                hits = collection.search(QUERIES[:3], k=K, exact=True, filter=filter)
                assert_best(hits, filter, QUERIES[:3], stored(range(300)))


def test_a_collection_with_string_ids(client: fanlight.Client) -> None:
    """Filters do not care what ids are."""
    names = [f"pkg/{package['name']}" for package in PACKAGES[:500]]
    collection = client.create_collection(
        "named", dim=DIM, metric="l2", id_type="string", filterable={"section": "keyword"}
    )
    collection.upsert(names, BASE[:500], PACKAGES[:500])
    kept = [row for row in range(500) if PACKAGES[row]["section"] == "python"]
    ids = np.array([names[row] for row in kept], dtype=object)
    hits = collection.search(QUERIES[:5], k=K, exact=True, filter={"section": "python"})
    expected = oracle.best(Metric.L2, QUERIES[:5], ids, BASE[kept], K)
    oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), expected)
    assert collection.info().spec.id_type is IdType.STRING
    client.delete_collection("named")


# --- what is refused ------------------------------------------------------------------------------


def test_a_field_of_another_type_is_refused_alone(scratch: fanlight.Collection) -> None:
    """The row's error names the field, what was declared and what came; the others are stored."""
    payloads: list[dict[str, Any] | None] = [
        {"section": "python"},
        {"section": 7},
        {"installed_size_kb": 1.5},
        {"installed_size_kb": True},
        {"tags": ["a", None]},
        {"weight": "heavy"},
        {"essential": "yes"},
        {"section": None, "tags": [], "other": [{}]},
    ]
    result = scratch.upsert(np.arange(8), BASE[:8], payloads, errors="return")
    assert [error.row for error in result.errors] == [1, 2, 3, 4, 5, 6]
    assert [error.error.field for error in result.errors] == [
        "payloads.section",
        "payloads.installed_size_kb",
        "payloads.installed_size_kb",
        "payloads.tags",
        "payloads.weight",
        "payloads.essential",
    ]
    assert "an integer that fits int64, or a list of them, got a boolean" in str(
        result.errors[2].error
    )
    assert scratch.count() == 2
    hits = scratch.search(BASE[0], k=K, filter={"section": "python"})
    assert hits.ids[0, : hits.counts[0]].tolist() == [0]


BAD_FILTERS: list[tuple[FilterLike, str]] = [
    ({"sektion": "python"}, "filter.sektion: expected a filterable field (essential, install"),
    ({"section": 7}, "filter.section: expected strings (the field is keyword), got numbers"),
    (SIZE == "big", "filter.installed_size_kb: expected numbers (the field is int), got strings"),
    (SECTION > 3, "filter.section: expected strings (the field is keyword), got bounds"),
    ({"essential": 1}, "filter.essential: expected booleans (the field is bool), got numbers"),
    (SIZE.is_in(range(10_001)), "filter: expected at most 10000 values, got 10001"),
]


@pytest.mark.parametrize(("filter", "text"), BAD_FILTERS)
def test_a_bad_filter_gets_a_clear_answer(
    debian: fanlight.Collection, filter: FilterLike, text: str
) -> None:
    """A condition that never holds is refused, by vector and by id, with the field."""
    with pytest.raises(fanlight.InvalidRequest) as caught:
        debian.search(QUERIES[0], filter=filter)
    assert text in str(caught.value)
    with pytest.raises(fanlight.InvalidRequest) as caught:
        debian.search_by_id([1], filter=filter)
    assert text in str(caught.value)


def test_fields_are_part_of_what_a_collection_is(client: fanlight.Client) -> None:
    """Creating it again with other fields is an error that names them."""
    client.create_collection("twice", dim=4, filterable={"a": "int", "b": "keyword"})
    client.create_collection("twice", dim=4, filterable={"b": "keyword", "a": "int"})
    with pytest.raises(fanlight.AlreadyExists, match="filterable a int, b keyword, not a int"):
        client.create_collection("twice", dim=4, filterable={"a": "int"})
    client.delete_collection("twice")


def test_the_command_line_filters(
    debian: fanlight.Collection, cluster: LocalCluster, client: fanlight.Client
) -> None:
    """Fields are declared and filters given as a script would."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "fanlight.cli", "--address", cluster.address, *arguments]
        return subprocess.run(argv, capture_output=True, text=True)

    made = run(
        "collections", "create", "typed", "--dim", "4",
        "--filterable", "a=b=keyword", "--filterable", "year=int",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "filterable by a=b, year." in made.stdout
    declared = {"a=b": "keyword", "year": "int"}
    assert client.get_collection("typed").spec.filterable == declared
    shown = run("collections", "show", "typed", "--json")
    assert json.loads(shown.stdout)["filterable"] == declared
    assert "a=b keyword, year int" in run("collections", "list").stdout
    client.delete_collection("typed")

    conditions = {"section": "python", "installed_size_kb": {"lt": 500}}
    found = run(
        "search", "debian", "--id", "7", "--exact", "--filter", json.dumps(conditions), "--json"
    )
    expected = debian.search_by_id([7], exact=True, filter=conditions)
    hits = json.loads(found.stdout)["hits"]
    assert [hit["id"] for hit in hits] == expected.ids[0].tolist()
    for bad in ("section=python", "null", "[]", "{}", '{"sektion": "python"}'):
        refused = run("search", "debian", "--id", "7", "--filter", bad)
        assert refused.returncode == 1
        assert "filter" in refused.stderr
    assert run("collections", "create", "x", "--dim", "4", "--filterable", "a").returncode == 1
