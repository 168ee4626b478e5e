"""The query model end to end: real processes, both clients, brute force as the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from tests import oracle
from tests.query import oracle_slate
from tests.query.oracle_slate import Want
from tests.wire.both_colours import COLOURS, clients

import fanlight
from fanlight import Cap, F, Floor, Mmr, Slate, combine, examples, interest, interests
from fanlight.cli.local_cluster import LocalCluster
from fanlight.errors import InvalidRequest
from fanlight.model import Floats, Metric
from fanlight.topk import TopK

pytestmark = pytest.mark.slow

DIM, N, K = 10, 300, 20
RNG = np.random.default_rng(21)
CENTRES = RNG.standard_normal((8, DIM))
OF = RNG.integers(0, 8, N)
VECTORS: Floats = (CENTRES[OF] + RNG.standard_normal((N, DIM)) * 0.3).astype(np.float32)
QUERY: Floats = (CENTRES[0] + 0.1).astype(np.float32)
START = datetime(2026, 1, 1, tzinfo=UTC)
PAYLOADS: list[dict[str, Any]] = [
    {"seller": f"s{OF[i]}", "age": i % 50, "added": START + timedelta(hours=i)} for i in range(N)
]
ITEMS = {i: (VECTORS[i], PAYLOADS[i]) for i in range(N)}
FIELDS = {"seller": "keyword", "age": "int", "added": "time"}
SLATE = Slate(
    caps=[Cap("seller", 4)],
    floors=[Floor(F("age") < 5, share=0.25)],
    mmr=Mmr(0.6, candidates=30),
    near_duplicate=0.98,
)


@pytest.fixture(scope="module", params=COLOURS)
def things(request: pytest.FixtureRequest, cluster: LocalCluster) -> Iterator[fanlight.Collection]:
    """Load the items, through a client of each colour."""
    with clients(request.param) as connect:
        client = connect(cluster.address)
        name = f"things-{request.param}"
        collection = client.create_collection(name, dim=DIM, filterable=FIELDS)
        collection.upsert(np.arange(N), VECTORS, PAYLOADS)
        yield collection


def assert_listed(hits: fanlight.Hits, wants: list[Want], slate: Slate, items: Any) -> None:
    listed, unmet = oracle_slate.make(items, wants, slate, hits.ids.shape[1])
    n = int(hits.counts[0])
    assert hits.ids[0, :n].tolist() == [one.id for one in listed]
    np.testing.assert_array_equal(hits.scores[0, :n], [one.score for one in listed])
    assert {rule.partition(":")[0] for rule in hits.unmet.get(0, ())} == unmet


def test_examples_and_arithmetic(things: fanlight.Collection) -> None:
    """Examples, arithmetic and missing ids arrive whole over the wire."""
    units = VECTORS.astype(np.float64) / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    wanted = (units[3] - units[7] + units[9]).astype(np.float32)
    hits = things.search([combine({3: 1, 7: -1, 9: 1}), examples([5, N + 1])], k=K, exact=True)
    left = {i: item for i, item in ITEMS.items() if i not in (3, 7, 9)}
    assert_listed(hits, [Want(wanted)], Slate(), left)
    assert hits.missing_ids[1].tolist() == [N + 1]
    assert 5 not in hits.ids[1]


def test_lists_with_rules(things: fanlight.Collection) -> None:
    """Rules, interests, exclusions and filters compose as the oracle says."""
    excluded = np.arange(0, N, 3)
    hits = things.search(
        QUERY,
        k=K,
        exact=True,
        slate=SLATE,
        exclude_ids=excluded,
        filter=F("added") >= START + timedelta(hours=20),
        with_payloads=True,
    )
    left = {i: item for i, item in ITEMS.items() if i % 3 and i >= 20}
    assert_listed(hits, [Want(QUERY)], SLATE, left)
    assert hits.excluded == sum(i % 3 == 0 for i in range(20, N))
    assert hits.payloads is not None
    assert [p["age"] for p in hits.payloads[0] if p] == [i % 50 for i in hits.ids[0].tolist()]
    two = interests(interest(QUERY, max_share=0.5), interest(-QUERY, weight=0.9, min_share=0.3))
    hits = things.search(two, k=K, exact=True)
    wants = [Want(QUERY, max_share=0.5), Want(-QUERY, 0.9, 0.3)]
    assert_listed(hits, wants, Slate(), ITEMS)
    assert hits.interests is not None
    assert set(hits.interests[0].tolist()) == {0, 1}


def test_sets(things: fanlight.Collection) -> None:
    """A set excludes from the next search on, until its members leave; unknown sets nothing."""
    plain = things.search(QUERY, k=K, exact=True)
    assert things.sets.count("seen:1") == 0
    best = plain.ids[0, :5]
    assert things.sets.append("seen:1", best) == 5
    assert things.sets.append("seen:1", best[:2], ttl=3_600) == 5
    hits = things.search(QUERY, k=K, exact=True, exclude_sets=["seen:1", "nobody"])
    assert hits.excluded == 5
    np.testing.assert_array_equal(hits.ids[0, : K - 5], plain.ids[0, 5:])
    assert sorted(things.sets.get("seen:1").tolist()) == sorted(best.tolist())
    assert things.sets.remove("seen:1", best[:1]) == 4
    assert things.sets.expire("seen:1", 3_600) == 4
    things.sets.delete("seen:1")
    again = things.search(QUERY, k=K, exact=True, exclude_sets=["seen:1"])
    np.testing.assert_array_equal(again.ids, plain.ids)
    assert again.excluded == 0
    with pytest.raises(InvalidRequest, match="name"):
        things.sets.append("", [1])


def test_counts_facets_and_explanations(things: fanlight.Collection) -> None:
    """Counts and facets are those of the payloads; an explanation tells rank, place and rules."""
    assert things.count(filter=F("age") < 10) == sum(p["age"] < 10 for p in PAYLOADS)
    facets = things.facets("seller", limit=3)
    counts = sorted(np.bincount(OF).tolist(), reverse=True)
    assert facets.counts.tolist() == counts[:3]
    assert (facets.distinct, facets.items) == (8, N)
    ranked = things.search(QUERY, k=N, exact=True).ids[0].tolist()
    why = things.explain(QUERY, ranked[40], k=K, exact=True, slate=Slate(caps=[Cap("seller", 1)]))
    assert (why.rank, why.rank_allowed, why.exists) == (41, 41, True)
    assert why.shard.startswith("shard-")
    assert things.explain(QUERY, ranked[3], k=K).place == 3
    assert not things.explain(QUERY, N + 7).exists


def test_pages_are_all_items_in_order(things: fanlight.Collection) -> None:
    """Pages neither repeat nor skip, and together are the ranking of all items."""
    ranked = things.search(QUERY, k=N, exact=True).ids[0].tolist()
    pages = list(things.pages(QUERY, k=70, exact=True))
    assert [i for page in pages for i in page.ids[0, : page.counts[0]].tolist()] == ranked


def test_pages_skip_nothing_while_items_come_and_go(things: fanlight.Collection) -> None:
    """None comes twice, none that stays the whole time is skipped; what is written may come."""
    new, gone = np.arange(1_000, 1_000 + 60), np.arange(0, N, 5)
    rng, at, found = np.random.default_rng(31), 0, list[int]()
    try:
        for page in things.pages(QUERY, k=30, exact=True):
            ids = page.ids[0, : page.counts[0]].tolist()
            alive = {*range(N), *new[: at * 10].tolist()} - set(gone[: at * 10].tolist())
            assert set(ids) <= alive - set(found)
            found += ids
            if at < 6:
                rows = slice(at * 10, at * 10 + 10)
                # as near as may be, so that they come before what is still to come
                near = QUERY + rng.standard_normal((10, DIM)) * 0.1
                things.upsert(new[rows], near.astype(np.float32), [{"age": 1}] * 10)
                things.delete(gone[rows])
                at += 1
        assert at == 6
        assert set(range(N)) - set(gone.tolist()) <= set(found)
        assert set(found) & set(new.tolist())
    finally:
        things.delete(new)
        things.upsert(gone, VECTORS[gone], [PAYLOADS[i] for i in gone.tolist()])


def test_deletion_by_filter(things: fanlight.Collection) -> None:
    """It deletes what satisfies the filter, and asks for one of ids and filter."""
    things.upsert(np.arange(N, N + 9), VECTORS[:9], [{"age": 99}] * 9)
    assert things.delete(filter=F("age") == 99).deleted == 9
    assert things.count() == N
    with pytest.raises(InvalidRequest, match="ids or a filter"):
        things.delete()


def test_a_lone_shard_offers_the_same(cluster: LocalCluster, things: fanlight.Collection) -> None:
    """Asked directly, a shard makes lists of its own items by the same rules."""
    with fanlight.Client(cluster.process("shard-1").address) as direct:
        own = direct.collection(things.name)
        ids = own.search(QUERY, k=N, exact=True)
        mine = {i: ITEMS[i] for i in ids.ids[0, : ids.counts[0]].tolist()}
        hits = own.search(QUERY, k=K, exact=True, slate=SLATE)
    assert_listed(hits, [Want(QUERY)], SLATE, mine)


def test_pages_of_rules_go_on_until_nothing_is_left(things: fanlight.Collection) -> None:
    """A list that rules cut short is not the last one; all items come, and none twice."""
    capped = things.pages(QUERY, k=30, exact=True, slate=Slate(caps=[Cap("seller", 2)]))
    two = interests(interest(QUERY, max_share=0.5), interest(-QUERY, max_share=0.25))
    for pages in (capped, things.pages(two, k=40, exact=True)):
        lists = [page.ids[0, : page.counts[0]].tolist() for page in pages]
        assert len(lists[0]) <= 30
        assert sorted(i for one in lists for i in one) == list(range(N))
    strict = Slate(caps=[Cap("seller", 2)])
    for page in things.pages(QUERY, k=30, exact=True, slate=strict, exclude_ids=[1, 2]):
        found = page.ids[0, : page.counts[0]].tolist()
        assert np.bincount(OF[found]).max() <= 2
        assert not {1, 2} & set(found)


@pytest.mark.parametrize("colour", COLOURS)
def test_excluded_strings_are_exact(colour: str, cluster: LocalCluster) -> None:
    """Few, and so many that a router splits them; in whatever they come, with a NUL among them too."""
    names = np.array([f"thing {i} \u20ac" for i in range(N)], dtype=object)
    gone, left = names[::3].tolist(), np.arange(N) % 3 != 0
    unknown = [f"{name} of another" for name in names for _ in range(100)]
    assert len("".join(gone + unknown).encode()) > 512 << 10
    with clients(colour) as connect:
        client = connect(cluster.address)
        collection = client.create_collection(f"strings-{colour}", dim=DIM, id_type="string")
        collection.upsert(names.tolist(), VECTORS)
        wanted = oracle.best(Metric.COSINE, QUERY[None], names[left], VECTORS[left], K)
        many = gone + unknown
        for given in (gone, many, np.array(many, dtype=object), np.array(many), [*many, "a\0b"]):
            hits = collection.search(QUERY, k=K, exact=True, exclude_ids=given)
            oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), wanted)
            assert hits.excluded == len(gone)
