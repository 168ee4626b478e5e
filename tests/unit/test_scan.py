"""Exact scores and exact scans, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import oracle
from tests.pieces import block_of, floats, gathered, ids_of, scanned

from fanlight.model import Floats, IdColumn, IdType, Metric
from fanlight.topk import merge
from fanlight_server.index.block import RowLookup

METRICS = list(Metric)
ID_TYPES = list(IdType)


def ids_shuffled(rows: int, id_type: IdType) -> IdColumn:
    return ids_of(np.random.default_rng(rows).permutation(rows) - rows // 2, id_type)


def check_scan(
    metric: Metric, queries: Floats, vectors: Floats, k: int, id_type: IdType = IdType.INT64
) -> None:
    block = block_of(ids_shuffled(len(vectors), id_type), vectors, metric=metric)
    expected = oracle.best(metric, queries, block.ids, vectors, k)
    oracle.assert_equal(scanned(block, queries, k), expected)


@pytest.mark.parametrize("id_type", ID_TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 283, 284, 299, 300, 301, 1000])
def test_a_scan_is_brute_force(metric: Metric, id_type: IdType, k: int) -> None:
    """A scan answers what comparing item by item in float64 answers, to the last bit."""
    check_scan(metric, floats(1, 4, 24), floats(2, 300, 24), k, id_type)


@pytest.mark.parametrize("id_type", ID_TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 99, 100, 101, 350, 550, 700])
def test_equal_vectors_around_the_cut_are_ordered_by_id(
    metric: Metric, id_type: IdType, k: int
) -> None:
    """Hundreds of equal vectors at the place of the k-th hit: the smallest ids stay."""
    vectors = floats(3, 600, 12)
    vectors[100:500] = vectors[50]
    vectors[550:580] = vectors[20]
    queries = np.concatenate([vectors[[50, 20]], floats(4, 2, 12)])
    check_scan(metric, queries, vectors, k, id_type)


@pytest.mark.parametrize("metric", METRICS)
def test_only_equal_vectors(metric: Metric) -> None:
    """Of nothing but equal vectors, the k smallest ids are the answer."""
    check_scan(metric, floats(5, 3, 33), np.repeat(floats(6, 1, 33), 500, axis=0), 40)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scales", [(1e-15, 1e17), (1e-15, 1e-15), (1e17, 1e17), (1e-3, 1e3)])
def test_short_and_long_vectors(metric: Metric, scales: tuple[float, float]) -> None:
    """Lengths from 1e-15 to 1e17, mixed or not, cost no precision."""
    low, high = np.log10(scales)
    factors = np.random.default_rng(7).uniform(low, high, (400, 1))
    vectors = (floats(8, 400, 16) * 10.0**factors).astype(np.float32)
    for query_scale in scales:
        queries = (floats(9, 3, 16) * query_scale).astype(np.float32)
        check_scan(metric, queries, vectors, 25)


@pytest.mark.parametrize("metric", [Metric.DOT, Metric.L2])
def test_scores_near_the_end_of_float32(metric: Metric) -> None:
    """Products that underflow in float32 choose no wrong candidates."""
    scale = np.float32(3e-23)
    check_scan(metric, floats(11, 4, 64) * scale, floats(10, 600, 64) * scale, 10)


def test_cosine_of_nearly_parallel_vectors() -> None:
    """Scores that differ by less than float32 products can tell are still in the right order."""
    base = floats(12, 1, 48)
    vectors = (base + floats(13, 500, 48) * np.float32(3e-4)).astype(np.float32)
    check_scan(Metric.COSINE, base, vectors, 10)


def test_l2_far_from_the_origin() -> None:
    """Squared distances that a float32 expansion loses entirely are still exact."""
    vectors = (np.float32(1e4) + floats(14, 500, 20)).astype(np.float32)
    check_scan(Metric.L2, vectors[:3] + np.float32(0.01), vectors, 7)


def test_zero_vectors_under_dot_and_l2() -> None:
    """Zero vectors and zero queries are fine where they need no direction."""
    vectors = floats(15, 200, 8)
    vectors[::3] = 0
    queries = np.concatenate([np.zeros((1, 8), np.float32), floats(16, 2, 8)])
    check_scan(Metric.DOT, queries, vectors, 30)
    check_scan(Metric.L2, queries, vectors, 30)
    check_scan(Metric.DOT, queries, np.zeros((200, 8), np.float32), 30)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [5, 150, 400])
def test_dead_rows_are_left_out(metric: Metric, k: int) -> None:
    """Dead rows never show, however near, and live ones fill their places."""
    vectors, queries = floats(21, 400, 10), floats(22, 3, 10)
    block = block_of(ids_shuffled(400, IdType.INT64), vectors, metric=metric)
    dead = np.random.default_rng(23).random(400) < 0.6
    dead[np.argsort(-(vectors @ queries[0]))[:40]] = True
    got = scanned(block, queries, k, dead)
    oracle.assert_equal(got, oracle.best(metric, queries, block.ids[~dead], vectors[~dead], k))


def test_nothing_lives() -> None:
    """All rows dead, or no rows at all: no hits and no error."""
    for rows in (100, 0):
        block = block_of(ids_of(range(rows), IdType.STRING), floats(25, rows, 4))
        got = scanned(block, floats(24, 2, 4), 10, np.ones(rows, np.bool_))
        assert got.counts.tolist() == [0, 0]
        assert np.isnan(got.scores).all()
        assert all(value is None for value in got.ids.ravel())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 3, 17, 128, 384])
def test_a_score_does_not_depend_on_its_neighbours(metric: Metric, dim: int) -> None:
    """An item's score is the same to the last bit, alone or among others, in every batch."""
    # float64 would show a sum in another order that float32 hides most of the time
    vectors, query = floats(27, 90, dim), floats(28, 1, dim)
    block = block_of(ids_of(range(90), IdType.INT64), vectors, metric=metric)
    everything = block.scored.score(query, np.arange(90)[None, :])
    batch = np.concatenate([floats(29, 3, dim), query])
    for rows in (np.arange(5, 8), np.arange(90)[::-1], np.array([44]), np.arange(0, 90, 7)):
        some = block.scored.score(batch, np.tile(rows, (4, 1)))[3]
        np.testing.assert_array_equal(some, everything[0, rows])


def vector_at_rounding_edge(seed: int, query: Floats) -> Floats:
    """Make a vector whose product with `query` is a midpoint of float32, but for 2^-60.

    The last two elements of the query are 1 and 2^-24; they correct the sum of the others.
    """
    vector: Floats = floats(seed, 1, len(query))[0]
    vector[-2:] = 0
    terms = (vector.astype(np.float64) * query).tolist()
    edge = np.float32(math.fsum(terms))
    target = (float(edge) + float(np.nextafter(edge, np.float32(np.inf)))) / 2
    vector[-2] = math.fsum([target, *(-term for term in terms)])
    vector[-1] = math.fsum([target, -float(vector[-2]), *(-term for term in terms)]) * 2**24
    return vector


def test_equal_vectors_have_equal_scores_at_a_rounding_edge() -> None:
    """Equal vectors score alike even where float32 rounding hangs on the last bit of float64."""
    query = floats(35, 1, 130)
    query[0, -2:] = 1, 2.0**-24
    for seed in range(20):
        vector = vector_at_rounding_edge(seed, query[0])
        vectors = np.tile(vector, (301, 1))
        block = block_of(ids_of(range(301), IdType.INT64), vectors, metric=Metric.DOT)
        among_others = block.scored.score(query, np.arange(301)[None, :])[0]
        alone = block.scored.score(query, np.array([[300]]))[0]
        assert set(among_others.tolist()) == set(alone.tolist())


def test_cosine_stays_in_its_range() -> None:
    """The cosine of a vector with itself is 1 and never more, with its opposite never below -1."""
    vectors = floats(30, 200, 100)
    block = block_of(
        ids_of(range(200), IdType.INT64), np.concatenate([vectors[:100], -vectors[:100]])
    )
    got = scanned(block, vectors[:100], 200)
    np.testing.assert_array_equal(got.ids[:, 0], np.arange(100))
    assert got.scores[:, 0].min() > 1 - 1e-6
    assert got.scores.max() <= 1
    assert got.scores.min() >= -1


small = st.integers(-3, 3).map(float)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), metric=st.sampled_from(METRICS), k=st.integers(1, 45))
@pytest.mark.slow
def test_any_small_case(data: st.DataObject, metric: Metric, k: int) -> None:
    """Small whole numbers, thus many ties: a scan of live rows is brute force."""
    dim = data.draw(st.integers(1, 4))
    rows = data.draw(st.integers(1, 40))
    vector = st.lists(small, min_size=dim, max_size=dim)
    if metric is Metric.COSINE:
        vector = vector.filter(any)
    vectors = np.array(data.draw(st.lists(vector, min_size=rows, max_size=rows)), np.float32)
    queries = np.array(data.draw(st.lists(vector, min_size=1, max_size=3)), np.float32)
    dead = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    block = block_of(ids_shuffled(rows, IdType.INT64), vectors, metric=metric)
    got = scanned(block, queries, k, dead)
    oracle.assert_equal(got, oracle.best(metric, queries, block.ids[~dead], vectors[~dead], k))


@settings(max_examples=50, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_splitting_items_into_parts_changes_nothing(data: st.DataObject) -> None:
    """However items are spread over parts, the merged answer is that of one block."""
    rows = 60
    vectors = floats(31, rows, 3)
    vectors[10:40] = vectors[0]
    queries = floats(32, 2, 3)
    block = block_of(ids_shuffled(rows, IdType.STRING), vectors)
    part_of = np.array(data.draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    parts = [gathered([block], [part_of == n]) for n in range(4)]
    k = data.draw(st.integers(1, 70))
    merged = merge([scanned(part, queries, k) for part in parts], k, IdType.STRING, 2)
    oracle.assert_equal(scanned(block, queries, k), merged)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_the_newest_row_of_an_id_is_found(id_type: IdType) -> None:
    """An id that stands in a block twice is found where its seq is highest; unknown ids are not."""
    ids = ids_of(np.array([5, 3, 5, -9, 3, 5]), id_type)
    vectors = floats(34, 6, 2)
    blocks = [block_of(ids[3:], vectors[3:], 10), block_of(ids[:3], vectors[:3], 1)]
    lookup = RowLookup(gathered(blocks, [np.ones(3, np.bool_)] * 2))
    wanted = ids_of(np.array([3, 4, 5, -9, 2**40]), id_type)
    assert lookup.rows_of(wanted).tolist() == [1, -1, 2, 0, -1]


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_nothing_is_found_in_nothing(id_type: IdType) -> None:
    """Looking up ids in an empty block finds none of them."""
    empty_block = block_of(ids_of(range(0), id_type), np.empty((0, 2), np.float32))
    assert RowLookup(empty_block).rows_of(ids_of(range(3), id_type)).tolist() == [-1, -1, -1]
