"""Slates on 1, 3 and 8 shards are what the rules say over all items, and say what is not met."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests import oracle
from tests.matching import accepts
from tests.query import oracle_slate
from tests.query.cores import NAME, Cores, cores
from tests.query.oracle_slate import Want

from fanlight import field
from fanlight.errors import DeadlineExceeded, NotReady
from fanlight.examples import interest, interests
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import Floats, Hits, Metric, SearchRequest
from fanlight.queries import Cap, Exclusions, Floor, Interest, Mmr, Slate
from fanlight_server.index.settings import IndexConfig

DIM, ITEMS = 12, 240
FIELDS = {"seller": FieldType.KEYWORD, "age": FieldType.INT, "tags": FieldType.KEYWORD}
RNG = np.random.default_rng(7)
# few directions, so that sellers crowd the top, and many near-duplicates
CENTRES = RNG.standard_normal((12, DIM))


def catalogue() -> dict[int, tuple[Floats, dict[str, Any]]]:
    """Make items whose sellers, ages and tags follow their directions."""
    items = {}
    for i in range(ITEMS):
        centre = int(RNG.integers(12))
        noise = RNG.standard_normal(DIM) * (0.05 if i % 3 else 0.6)
        payload: dict[str, Any] = {"brand": f"b{i % 5}", "age": int(RNG.integers(100))}
        if i % 11:
            payload["seller"] = f"s{centre}"
        payload["tags"] = [f"t{i % 4}", f"t{i % 7}"]
        items[i * 3] = ((CENTRES[centre] + noise).astype(np.float32), payload)
    return items


ITEMS_BY_ID = catalogue()
QUERIES = (CENTRES[[0, 3, 7]] + RNG.standard_normal((3, DIM)) * 0.2).astype(np.float32)

SLATES = {
    "cap": Slate(caps=[Cap("seller", 2)]),
    "cap of an undeclared field": Slate(caps=[Cap("brand", 1)]),
    "caps of lists": Slate(caps=[Cap("tags", 4), Cap("seller", 3)]),
    "a cap that cannot be filled": Slate(caps=[Cap("tags", 1)]),
    "floor": Slate(floors=[Floor(field("age") < 7, share=0.4)]),
    "a floor out of reach": Slate(floors=[Floor(field("age") < 1, count=12)]),
    "floors": Slate(
        floors=[Floor(field("age") < 20, share=0.5), Floor(~field("seller").exists(), count=5)]
    ),
    "near-duplicates": Slate(near_duplicate=0.9),
    "mmr": Slate(mmr=Mmr(0.5, candidates=20)),
    "all": Slate(
        caps=[Cap("seller", 3)],
        floors=[Floor(field("age") < 10, share=0.3)],
        mmr=Mmr(0.7, candidates=10),
        near_duplicate=0.97,
    ),
}


@pytest.fixture(scope="module", params=[1, 3, 8])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cores]:
    """Hold the catalogue on some shards."""
    path: Path = tmp_path_factory.mktemp("cores")
    with cores(path, request.param, dim=DIM, filterable=FIELDS) as opened:
        ids = np.array(list(ITEMS_BY_ID), dtype=np.int64)
        vectors = np.array([vector for vector, _ in ITEMS_BY_ID.values()])
        opened.put(ids, vectors, [payload for _, payload in ITEMS_BY_ID.values()])
        yield opened


def assert_made(
    hits: Hits, row: int, wants: list[Want], slate: Slate, k: int, items: Any = ITEMS_BY_ID
) -> None:
    """Compare one list with the oracle's, bit by bit."""
    listed, unmet = oracle_slate.make(items, wants, slate, k)
    n = int(hits.counts[row])
    assert hits.ids[row, :n].tolist() == [one.id for one in listed]
    np.testing.assert_array_equal(hits.scores[row, :n], [one.score for one in listed])
    assert (hits.ids[row, n:] == -1).all()
    assert {rule.partition(":")[0] for rule in hits.unmet.get(row, ())} == unmet
    if hits.interests is not None:
        assert hits.interests[row, :n].tolist() == [one.interest for one in listed]


@pytest.mark.parametrize("k", [25])
@pytest.mark.parametrize("name", SLATES)
def test_rules_are_met_as_over_all_items(stored: Cores, name: str, k: int) -> None:
    """Each list is the oracle's, on any number of shards, and unmet rules are named."""
    request = SearchRequest(NAME, QUERIES, k, exact=True, slate=SLATES[name])
    hits = stored.search(request)
    assert hits.coverage.complete
    assert hits.coverage.items_covered == ITEMS
    for row, query in enumerate(QUERIES):
        assert_made(hits, row, [Want(query)], SLATES[name], k)


def several(*wants: Want) -> tuple[Any, ...]:
    made: list[Interest] = [
        interest(w.vector, weight=w.weight, min_share=w.min_share, max_share=w.max_share)
        for w in wants
    ]
    return (interests(*made),)


INTERESTS = {
    "plain": [Want(QUERIES[0]), Want(QUERIES[1])],
    "weights": [Want(QUERIES[0], 2.0), Want(QUERIES[1], 0.5), Want(QUERIES[2])],
    "shares": [Want(QUERIES[0], max_share=0.5), Want(-QUERIES[0], min_share=0.3)],
    "one, at most": [Want(QUERIES[0], max_share=0.4)],
    "one, at least": [Want(QUERIES[0], min_share=1.0)],
    "all shares": [Want(QUERIES[0], 3.0, 0.2, 0.4), Want(QUERIES[1], 1.0, 0.1, 0.3)],
}


@pytest.mark.parametrize("slate", [None, SLATES["cap"], SLATES["all"]], ids=["none", "cap", "all"])
@pytest.mark.parametrize("name", INTERESTS)
def test_interests_make_one_list(stored: Cores, name: str, slate: Slate | None) -> None:
    """One list without duplicates, with shares, each hit tagged by the interest that found it."""
    wants = INTERESTS[name]
    request = SearchRequest(NAME, None, 20, exact=True, composed=several(*wants), slate=slate)
    hits = stored.search(request)
    assert hits.interests is not None
    assert_made(hits, 0, wants, slate or Slate(), 20)
    real = hits.ids[0, : hits.counts[0]].tolist()
    assert len(set(real)) == len(real)


@pytest.mark.parametrize("name", [None, "cap", "near-duplicates", "floors", "all"])
def test_rules_hold_with_filters_exclusions_and_thresholds(stored: Cores, name: str | None) -> None:
    """The parts compose: the list is made of what the others leave, hits at the threshold too."""
    excluded = np.array([i for i in ITEMS_BY_ID if i % 2], dtype=np.int64)
    matching = {i: item for i, item in ITEMS_BY_ID.items() if item[1]["age"] >= 5}
    left = {i: item for i, item in matching.items() if i % 2 == 0}
    slate = None if name is None else SLATES[name]
    ranked, _ = oracle_slate.make(left, [Want(QUERIES[0])], Slate(), len(left))
    # fewer than k, than a list with rules looks at, and all
    for kept in (1, 9, 40, len(left)):
        threshold = float(ranked[kept - 1].score)
        request = SearchRequest(
            NAME,
            QUERIES[:1],
            15,
            exact=True,
            filter=field("age") >= 5,
            exclude=Exclusions(excluded),
            score_threshold=threshold,
            slate=slate,
        )
        hits = stored.search(request)
        near = {one.id: left[one.id] for one in ranked if float(one.score) >= threshold}
        assert len(near) >= kept
        assert_made(hits, 0, [Want(QUERIES[0])], slate or Slate(), 15, near)
        assert hits.excluded == len(matching) - len(left)


def test_a_threshold_is_of_each_interest(stored: Cores) -> None:
    """An item may be found for one interest and score too little for another."""
    wants = INTERESTS["weights"]
    for threshold in (0.3, 0.8, 0.95):
        request = SearchRequest(
            NAME, None, 20, exact=True, composed=several(*wants), score_threshold=threshold
        )
        listed, _ = oracle_slate.make(ITEMS_BY_ID, wants, Slate(), 20, threshold=threshold)
        hits = stored.search(request)
        n = int(hits.counts[0])
        assert hits.ids[0, :n].tolist() == [one.id for one in listed]
        assert hits.interests is not None
        assert hits.interests[0, :n].tolist() == [one.interest for one in listed]


def test_a_limit_is_said(tmp_path: Path) -> None:
    """Where a limit ends the asking, a rule is unmet and nothing is claimed to be proven."""
    limits = Limits(k=12, slate_rounds=2)
    with cores(tmp_path, 3, dim=DIM, limits=limits) as opened:
        vectors = np.tile(CENTRES[:1].astype(np.float32), (300, 1))
        vectors += np.linspace(0, 0.01, 300, dtype=np.float32)[:, None]
        ids = np.arange(300, dtype=np.int64)
        opened.put(ids, vectors, [{"brand": "one"}] * 299 + [{"brand": "two"}])
        slate = Slate(caps=[Cap("brand", 1)])
        hits = opened.search(SearchRequest(NAME, vectors[:1], 10, exact=True, slate=slate))
    assert hits.counts[0] >= 1
    assert hits.unmet[0][-1] == "limit"


def test_a_cap_needs_no_field_that_is_built_everywhere(tmp_path: Path) -> None:
    """While one of the shards builds the field of a cap, the list is what it ever is."""
    crowd = CENTRES[:1] + RNG.standard_normal((300, DIM)) * 0.1
    vectors = np.concatenate((crowd, RNG.standard_normal((40, DIM)))).astype(np.float32)
    payloads = [{"seller": f"s{i % 4 if i < 300 else i}"} for i in range(340)]
    items = {i: (vectors[i], payloads[i]) for i in range(340)}
    slate, query = Slate(caps=[Cap("seller", 2)]), CENTRES[0].astype(np.float32)
    with cores(tmp_path, 2, dim=DIM) as opened:
        opened.put(np.arange(340, dtype=np.int64), vectors, payloads)
        for collection in opened.collections:
            declared = collection.declaration.replaced({"seller": FieldType.KEYWORD}, None)
            collection.declare(declared)
        built, building = opened.collections
        while built.info().building_fields:
            assert built.keeper.build_next(1)
        assert building.info().building_fields == ("seller",)
        request = SearchRequest(NAME, query[None], 20, exact=True, slate=slate)
        hits = opened.search(request)
        assert hits.coverage.complete
        assert_made(hits, 0, [Want(query)], slate, 20, items)
        needing = Slate(floors=[Floor(field("seller") == "s1", count=1)])
        with pytest.raises(NotReady, match="seller"):
            opened.search(replace(request, slate=needing))


def test_a_shard_makes_no_list_past_the_deadline(tmp_path: Path) -> None:
    """Of a shard that is asked alone, too: the lists made until then stand, the others say so."""
    moments = itertools.count()
    with cores(tmp_path, 1, dim=DIM, filterable=FIELDS, now=lambda: next(moments) / 1_000) as one:
        ids = np.array(list(ITEMS_BY_ID), dtype=np.int64)
        vectors = np.array([vector for vector, _ in ITEMS_BY_ID.values()])
        one.put(ids, vectors, [payload for _, payload in ITEMS_BY_ID.values()])
        asked = SearchRequest(NAME, vectors[:30], 20, slate=SLATES["cap"])
        (shard,) = one.collections
        assert not shard.search(asked).errors
        hits = shard.search(asked, timeout_s=0.3)
        late = [row for row, error in hits.errors.items() if isinstance(error, DeadlineExceeded)]
        assert 0 < len(late) == len(hits.errors) < 30
        assert (hits.counts[late] == 0).all()


def test_a_query_that_fails_leaves_the_others(stored: Cores) -> None:
    """A vector that cannot be scored is refused alone."""
    queries = QUERIES.copy()
    queries[1] = np.nan
    hits = stored.search(SearchRequest(NAME, queries, 10, exact=True, slate=SLATES["all"]))
    assert list(hits.errors) == [1]
    assert hits.counts[1] == 0
    assert_made(hits, 2, [Want(queries[2])], SLATES["all"], 10)


@pytest.mark.parametrize("shards", [1, 3])
def test_impossible_rules_are_proven_with_few_questions(tmp_path: Path, shards: int) -> None:
    """Full values are left out by the search itself, so a crowd of one seller costs few rounds."""
    n = 3_000
    limits = Limits(slate_rounds=8)
    with cores(tmp_path, shards, dim=DIM, filterable=FIELDS, limits=limits) as opened:
        vectors = np.tile(CENTRES[:1], (n, 1)) + RNG.standard_normal((n, DIM)) * 0.01
        payloads = [{"seller": "crowd", "age": 50} for _ in range(n)]
        payloads[n - 2] = {"seller": "other", "age": 1}
        vectors[n - 2 :] = -CENTRES[0]
        opened.put(np.arange(n, dtype=np.int64), vectors.astype(np.float32), payloads)
        slate = Slate(caps=[Cap("seller", 3)], floors=[Floor(field("age") < 7, count=2)])
        query = CENTRES[:1].astype(np.float32)
        hits = opened.search(SearchRequest(NAME, query, 10, exact=True, slate=slate))
    assert n - 2 in hits.ids[0].tolist()
    assert hits.counts[0] == 4
    assert hits.unmet == {0: ("floor 0: 1 of 2", "k: 4 of 10")}


WALKED = {
    "cap and floor": Slate(caps=[Cap("seller", 3)], floors=[Floor(field("age") < 10, share=0.4)]),
    "an undeclared cap": Slate(caps=[Cap("brand", 2)], near_duplicate=0.95),
    "floors out of reach": Slate(
        floors=[Floor(field("age") < 2, count=9), Floor(field("age") >= 1_000, count=5)],
        near_duplicate=0.97,
    ),
    "a cap that cannot be filled": Slate(caps=[Cap("tags", 1), Cap("seller", 2)]),
    "all": SLATES["all"],
}
WIDE, MANY = 512, 6_000
# what lists of 20 with rules ask for at first
DEPTH = 50


class Walked(NamedTuple):
    """Shards whose graphs are walked, and what they hold; ids are rows."""

    cores: Cores
    vectors: Floats
    payloads: list[dict[str, Any]]
    queries: Floats


@pytest.fixture(scope="module", params=[1, 3])
def walked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walked]:
    """Hold many items in graphs of few links, which searches walk and miss much of."""
    rng, n = np.random.default_rng(3), MANY * request.param
    spread, centres = rng.standard_normal((24, WIDE)), rng.standard_normal((60, 24))
    of = rng.integers(0, 60, n)
    noise = rng.standard_normal((n, 24)) * np.where(np.arange(n) % 3, 1.0, 0.1)[:, None]
    vectors = ((centres[of] + noise) @ spread).astype(np.float32)
    payloads = [
        {
            "seller": f"s{of[i]}",
            "age": 1_000 if i < 3 else int(rng.integers(100)),
            "tags": [f"t{i % 9}", f"t{i % 14}"],
            "brand": f"b{of[i] % 20}",
        }
        for i in range(n)
    ]
    queries = ((centres[:4] + rng.standard_normal((4, 24))) @ spread).astype(np.float32)
    path, index = tmp_path_factory.mktemp("walked"), IndexConfig(unindexed_bytes=1 << 30)
    with cores(path, request.param, dim=WIDE, filterable=FIELDS, index=index, m=2) as opened:
        opened.put(np.arange(n, dtype=np.int64), vectors, payloads)
        opened.seal()
        assert set(opened.segments) == {1}
        assert sum(c.info().unindexed_items for c in opened.collections) == 0
        yield Walked(opened, vectors, payloads, queries)


def test_graphs_are_walked(walked: Walked) -> None:
    """The searches that lists begin with miss items, which no scan would."""
    request = SearchRequest(NAME, walked.queries, DEPTH, ef_search=DEPTH)
    hits = walked.cores.search(request)
    best = walked.cores.search(replace(request, exact=True))
    found = [np.isin(a, b).mean() for a, b in zip(best.ids, hits.ids, strict=True)]
    assert 0.1 < np.mean(found) < 0.95


@pytest.mark.parametrize("name", WALKED)
def test_an_approximate_search_keeps_the_rules(walked: Walked, name: str) -> None:
    """Walks may miss items, but no rule is broken, and what is not met is said."""
    slate, k = WALKED[name], 20
    hits = walked.cores.search(SearchRequest(NAME, walked.queries, k, ef_search=k, slate=slate))
    assert not hits.errors
    for row, query in enumerate(walked.queries):
        ids = hits.ids[row, : hits.counts[row]].astype(np.int64)
        assert len(set(ids.tolist())) == len(ids) > 0
        np.testing.assert_array_equal(
            hits.scores[row, : len(ids)],
            oracle.scores(Metric.COSINE, query, walked.vectors[ids]),
        )
        payloads = [walked.payloads[i] for i in ids.tolist()]
        assert_within_caps(slate, payloads)
        assert_no_near_duplicates(slate, walked.vectors[ids])
        said = {rule.partition(":")[0] for rule in hits.unmet.get(row, ())} - {"limit"}
        assert said == unmet_of(slate, payloads, k)


def assert_within_caps(slate: Slate, payloads: list[dict[str, Any]]) -> None:
    """Count the values of each capped field."""
    for cap in slate.caps:
        listed = (np.ravel(p[cap.field]).tolist() for p in payloads)
        counts = Counter(value for values in listed for value in set(values))
        assert max(counts.values()) <= cap.most


def assert_no_near_duplicates(slate: Slate, vectors: Floats) -> None:
    """Compare each pair."""
    if slate.near_duplicate is not None:
        units = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        cosines = (units @ units.T)[np.triu_indices(len(units), 1)]
        assert cosines.max() <= slate.near_duplicate + 1e-6


def unmet_of(slate: Slate, payloads: list[dict[str, Any]], k: int) -> set[str]:
    """Name the rules that a list of items with these payloads does not meet."""
    unmet = {"k"} if len(payloads) < k else set()
    for number, floor in enumerate(slate.floors):
        need = math.ceil(floor.share * k) if floor.share is not None else floor.count or 0
        if sum(accepts(floor.filter, payload) for payload in payloads) < need:
            unmet.add(f"floor {number}")
    return unmet
