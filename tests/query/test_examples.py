"""Queries by examples: the same vector as by hand, on one shard and on several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import oracle
from tests.pieces import floats, ids_of
from tests.query.cores import NAME, Cores, cores

from fanlight.errors import FanlightError, InvalidRequest, NotFound
from fanlight.examples import combine, examples, interest, interests
from fanlight.model import Floats, Hits, IdType, Metric, SearchRequest
from fanlight.queries import Query
from fanlight.topk import TopK

DIM, N, K = 8, 120, 10
VECTORS = floats(3, N, DIM) * np.linspace(0.5, 3, N, dtype=np.float32)[:, None]


@pytest.fixture(scope="module", params=[1, 3])
def shards(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture(scope="module", params=list(Metric))
def stored(
    shards: int, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cores, Metric]]:
    path: Path = tmp_path_factory.mktemp("cores")
    with cores(path, shards, dim=DIM, metric=request.param) as opened:
        opened.put(ids_of(range(N), IdType.INT64), VECTORS)
        yield opened, request.param


def asked(cores: Cores, *queries: Query, k: int = K, **more: Any) -> Hits:
    return cores.search(SearchRequest(NAME, None, k, exact=True, composed=queries, **more))


def by_hand(metric: Metric, terms: list[tuple[Floats, float]]) -> Floats:
    """Add vectors as docs/queries.md says."""
    total = np.zeros(DIM)
    for vector, weight in terms:
        exact = vector.astype(np.float64)
        total += weight * (exact / np.linalg.norm(exact) if metric is Metric.COSINE else exact)
    if metric is Metric.L2:
        total /= sum(np.float32(weight) for _, weight in terms)
    summed: Floats = total.astype(np.float32)
    return summed


def assert_nearest(hits: Hits, row: int, metric: Metric, query: Floats, left_out: set[int]) -> None:
    kept = np.array([i for i in range(N) if i not in left_out], dtype=np.int64)
    expected = oracle.best(metric, query[None], kept, VECTORS[kept], hits.ids.shape[1])
    one = slice(row, row + 1)
    oracle.assert_equal(TopK(hits.ids[one], hits.scores[one], hits.counts[one]), expected)


def test_examples_are_a_weighted_sum(stored: tuple[Cores, Metric]) -> None:
    """Ids and vectors mix, weights count, and examples given as ids are no hits."""
    cores, metric = stored
    own = floats(9, 1, DIM)[0]
    terms: Any = [(own, 1.0), (VECTORS[4], 2.0), (VECTORS[7], 1.0), (VECTORS[9], -0.5)]
    query = examples(positive=[(4, 2.0), own, 7], negative=[(9, 0.5)])
    hits = asked(cores, query)
    assert_nearest(hits, 0, metric, by_hand(metric, terms), {4, 7, 9})
    assert hits.missing_ids == {}
    kept = asked(cores, examples(positive=[(4, 2.0), own, 7], negative=[(9, 0.5)], keep=True))
    assert_nearest(kept, 0, metric, by_hand(metric, terms), set())


def test_one_query_each(stored: tuple[Cores, Metric]) -> None:
    """Several queries in one search leave out their own examples only."""
    cores, metric = stored
    hits = asked(cores, examples([1]), combine({2: 1.0, 3: 1.0}), examples([VECTORS[5]]))
    assert_nearest(hits, 0, metric, VECTORS[1], {1})
    both: Any = [(VECTORS[2], 1.0), (VECTORS[3], 1.0)]
    assert_nearest(hits, 1, metric, by_hand(metric, both), {2, 3})
    assert_nearest(hits, 2, metric, VECTORS[5], set())


def test_missing_ids_are_returned(stored: tuple[Cores, Metric]) -> None:
    """A missing example is neither fatal nor silent; a query of missing ones alone fails alone."""
    cores, metric = stored
    hits = asked(cores, examples([1, 999, 1_000]), examples([999]), examples([2]))
    assert_nearest(hits, 0, metric, VECTORS[1], {1})
    assert_nearest(hits, 2, metric, VECTORS[2], {2})
    assert {row: ids.tolist() for row, ids in hits.missing_ids.items()} == {
        0: [999, 1_000],
        1: [999],
    }
    assert list(hits.errors) == [1]
    assert isinstance(hits.errors[1], NotFound)
    assert hits.counts[1] == 0


def test_an_interest_that_is_missing_leaves_the_others(stored: tuple[Cores, Metric]) -> None:
    """Of several interests one without a vector brings nothing in."""
    cores, metric = stored
    hits = asked(cores, interests(interest([999]), interest([2])))
    assert_nearest(hits, 0, metric, VECTORS[2], {2})
    assert hits.interests is not None
    assert (hits.interests[0] == 1).all()
    assert hits.missing_ids[0].tolist() == [999]


def test_a_sum_without_a_direction_is_refused_alone(stored: tuple[Cores, Metric]) -> None:
    """Examples that cancel out have no cosine, and no mean."""
    cores, metric = stored
    hits = asked(cores, examples([1], [1]), examples([2]))
    assert_nearest(hits, 1, metric, VECTORS[2], {2})
    if metric is not Metric.DOT:
        assert isinstance(hits.errors[0], InvalidRequest)


def test_there_are_k_hits_while_items_remain(stored: tuple[Cores, Metric]) -> None:
    """Left-out examples do not shorten the list."""
    cores, _ = stored
    hits = asked(cores, examples(range(20)), k=N - 20)
    assert hits.counts[0] == N - 20


@pytest.mark.parametrize(
    "make",
    [
        lambda: examples(),
        lambda: examples([[1.0, 2.0], [1.0]]),
        lambda: examples([(1, 2, 3)]),
        lambda: examples([(1, float("nan"))]),
        lambda: examples([1, "one"]),
        lambda: examples([True]),
        lambda: examples("abc"),
        lambda: interests(examples([1])),  # type: ignore[arg-type]  # the point
        lambda: interest(interests(interest(1), interest(2))),
    ],
)
def test_what_cannot_be_an_example_is_refused(make: Any) -> None:
    """Nothing is sent that the servers would have to guess at."""
    with pytest.raises(InvalidRequest):
        make()


@pytest.mark.parametrize(
    "query",
    [
        interests(interest(1, min_share=0.8), interest(2, min_share=0.8)),
        interests(interest(1, weight=0)),
        interests(interest(1, min_share=0.5, max_share=0.4)),
        interests(*(interest(i) for i in range(65))),
        examples(range(2_000)),
        examples(["one"]),
        examples([np.ones(DIM + 1)]),
    ],
)
def test_what_makes_no_sense_is_refused(stored: tuple[Cores, Metric], query: Query) -> None:
    """Limits, shares, types and dimensions are judged, whoever answers."""
    cores, _ = stored
    with pytest.raises(FanlightError) as caught:
        asked(cores, query)
    assert isinstance(caught.value, InvalidRequest)
