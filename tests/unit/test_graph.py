"""Graphs: built, extended, taken apart, loaded and walked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hnswlib
import numpy as np
import pytest
from tests import oracle
from tests.pieces import block_of, floats, ids_of, segment_of, spec_of

from fanlight.model import CollectionSpec, Floats, IdType, Metric, Rows
from fanlight_server.index import graph
from fanlight_server.index.scoring import Queries, scan, walked_form

METRICS = list(Metric)


def never() -> bool:
    return False


def built(
    spec: CollectionSpec, vectors: Floats, base: graph.GraphArrays | None = None
) -> tuple[graph.GraphArrays, Rows]:
    return graph.build(spec, vectors, base, threads=1, stopped=never)


def walked(spec: CollectionSpec, vectors: Floats) -> Floats:
    return walked_form(spec.metric, vectors, block_of(np.arange(len(vectors)), vectors).lengths)


def check_sound(arrays: graph.GraphArrays, rows: int, spec: CollectionSpec) -> None:
    """Check what a reader of the arrays relies on."""
    assert arrays.links.shape == (rows, 1 + 2 * spec.m)
    assert len(arrays.levels) == rows
    assert arrays.upper.shape == (int(arrays.levels.sum()), 1 + spec.m)
    assert arrays.levels[arrays.entry_point] == arrays.top_level == arrays.levels.max()
    for table in (arrays.links, arrays.upper):
        counts = table[:, 0]
        assert counts.max(initial=0) < table.shape[1]
        used = np.arange(table.shape[1] - 1) < counts[:, None]
        assert table[:, 1:][used].max(initial=0) < rows


@pytest.mark.parametrize("metric", METRICS)
def test_a_walk_is_that_of_hnswlib(metric: Metric) -> None:
    """A graph taken apart and loaded answers what hnswlib's own index over the data answers."""
    spec = spec_of(12, metric)
    vectors = walked(spec, floats(1, 2_500, 12))
    own = hnswlib.Index("l2" if metric is Metric.L2 else "ip", 12)
    own.init_index(len(vectors), M=spec.m, ef_construction=spec.ef_construction)
    own.add_items(vectors, num_threads=1)
    own.set_ef(40)
    queries = Queries.prepare(metric, floats(2, 50, 12)).walked
    expected, _ = own.knn_query(queries, k=10, num_threads=1)

    arrays, order = built(spec, vectors)
    check_sound(arrays, 2_500, spec)
    rows = graph.Graph(spec, vectors[order], arrays).walk(queries, 10, 40, 1)
    assert rows is not None
    np.testing.assert_array_equal(order[rows], expected)


@pytest.mark.parametrize("metric", METRICS)
def test_an_extended_graph_finds_old_and_new(metric: Metric) -> None:
    """A graph that grows in steps finds rows of every step about as well as one built at once."""
    spec = spec_of(12, metric)
    vectors = walked(spec, floats(3, 3_000, 12))
    arrays, order = built(spec, vectors[:1_000])
    for stop in (1_001, 2_000, 3_000):
        rows = np.concatenate([order, np.arange(len(order), stop)])
        arrays, step = built(spec, vectors[rows], arrays)
        order = rows[step]
        check_sound(arrays, stop, spec)
    assert sorted(order.tolist()) == list(range(3_000))
    found = graph.Graph(spec, vectors[order], arrays).walk(vectors[::50], 1, 60, 1)
    assert found is not None
    queries = Queries.prepare(metric, vectors[::50])
    exact = scan(queries, block_of(np.arange(3_000), vectors), 1, None)
    assert np.mean(order[found] == exact.ids) >= 0.98


def test_extending_by_nothing_keeps_the_graph() -> None:
    """A graph extended by no rows stays as it is."""
    spec = spec_of(6)
    vectors = walked(spec, floats(4, 300, 6))
    arrays, order = built(spec, vectors)
    same, step = built(spec, vectors[order], arrays)
    assert step.tolist() == list(range(300))
    for name in ("links", "levels", "upper"):
        np.testing.assert_array_equal(getattr(same, name), getattr(arrays, name))
    assert (same.entry_point, same.top_level) == (arrays.entry_point, arrays.top_level)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_graph_of_few_rows(rows: int) -> None:
    """A graph of one row is a graph, and can be extended."""
    spec = spec_of(3, Metric.L2)
    vectors = floats(5, 200, 3)
    arrays, order = built(spec, vectors[:rows])
    check_sound(arrays, rows, spec)
    found = graph.Graph(spec, vectors[:rows][order], arrays).walk(vectors[:1], rows, 10, 1)
    assert found is not None
    assert sorted(found[0].tolist()) == list(range(rows))
    grown, step = built(spec, np.concatenate([vectors[:rows][order], vectors[rows:]]), arrays)
    check_sound(grown, 200, spec)
    assert sorted(step.tolist()) == list(range(200))


def test_several_threads_lose_no_row() -> None:
    """A graph built by several threads holds every row once."""
    spec = spec_of(8)
    vectors = walked(spec, floats(6, 3_000, 8))
    arrays, order = graph.build(spec, vectors, None, threads=4, stopped=never)
    check_sound(arrays, 3_000, spec)
    assert sorted(order.tolist()) == list(range(3_000))


def test_a_build_stops_when_told() -> None:
    """A build asks again and again whether to stop, and then raises; nothing of it remains."""
    asked: list[bool] = []

    def third_time() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    vectors = floats(7, 10_000, 4)
    with pytest.raises(graph.BuildStopped):
        graph.build(spec_of(4, Metric.L2), vectors, None, threads=1, stopped=third_time)
    assert asked == [False, False, True]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 300, 1_500])
def test_hundreds_of_equal_vectors_are_answered(tmp_path: Path, metric: Metric, k: int) -> None:
    """Equal vectors that cut a graph apart leave no query without its k hits, nor with doubles."""
    vectors = floats(8, 1_200, 6)
    vectors[:900] = vectors[0]
    block = block_of(ids_of(range(1_200), IdType.INT64), vectors)
    segment = segment_of(tmp_path / "1.seg", spec_of(6, metric), block)
    queries = Queries.prepare(metric, np.concatenate([vectors[[0, 950]], floats(9, 3, 6)]))
    for dead in (None, np.arange(1_200) % 3 == 0):
        live = 1_200 if dead is None else 800
        hits = segment.search(queries, k, 16, dead, 1)
        assert hits.counts.tolist() == [min(k, live)] * 5
        for row in hits.ids.tolist():
            real = [value for value in row if value >= 0]
            assert len(set(real)) == min(k, live)
            assert dead is None or not dead[segment.lookup.rows_of(np.array(real))].any()


def test_a_walk_that_hnswlib_gives_up_is_no_error() -> None:
    """Where hnswlib finds fewer than k and raises, the walk says so, and the next one works."""
    spec = spec_of(4, Metric.L2)
    vectors = floats(18, 2_000, 4)
    vectors[:1_000] = vectors[0]
    arrays, order = built(spec, vectors)
    walker = graph.Graph(spec, vectors[order], arrays)
    assert walker.walk(vectors[:2], 1_999, 1_999, 1) is None
    rows = walker.walk(vectors[:2], 5, 5, 1)
    assert rows is not None
    assert rows.shape == (2, 5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-15, 1e-4, 1.0, 1e17])
def test_recall_does_not_depend_on_scale(tmp_path: Path, metric: Metric, scale: float) -> None:
    """Very short and very long vectors are found as well as others."""
    vectors = (floats(10, 2_000, 16) * scale).astype(np.float32)
    block = block_of(ids_of(range(2_000), IdType.INT64), vectors)
    segment = segment_of(tmp_path / "1.seg", spec_of(16, metric), block)
    queries = Queries.prepare(metric, (floats(11, 50, 16) * scale).astype(np.float32))
    exact = scan(queries, block, 10, None)
    assert oracle.recall(segment.search(queries, 10, 200, None, 1), exact) > 0.9


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("id_type", list(IdType))
def test_scores_of_a_segment_are_those_of_the_scan(
    tmp_path: Path, metric: Metric, id_type: IdType
) -> None:
    """An item found by the graph has, to the last bit, the score it has in an exact scan."""
    vectors = (floats(12, 1_500, 40) * np.float32(3)).astype(np.float32)
    block = block_of(ids_of(range(1_500), id_type), vectors)
    segment = segment_of(tmp_path / "1.seg", spec_of(40, metric, id_type), block)
    queries = Queries.prepare(metric, floats(13, 20, 40))
    exact = scan(queries, block, 1_500, None)
    by_graph = segment.search(queries, 50, 100, None, 1)
    for row in range(20):
        score_of = dict(zip(exact.ids[row].tolist(), exact.scores[row].tolist(), strict=True))
        expected = [score_of[value] for value in by_graph.ids[row].tolist()]
        assert by_graph.scores[row].tolist() == expected
        assert expected == sorted(expected, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_dead_rows_cost_no_hits(tmp_path: Path, share: float) -> None:
    """However many rows are dead, the live ones are found, k of them or all there are."""
    vectors = floats(14, 3_000, 12)
    block = block_of(ids_of(range(3_000), IdType.INT64), vectors)
    segment = segment_of(tmp_path / "1.seg", spec_of(12), block)
    dead = np.random.default_rng(15).random(3_000) < share
    # one region is dead as a whole, which is where a walk would get stuck
    dead[np.argsort(-(vectors @ vectors[0]))[:400]] = True
    queries = Queries.prepare(Metric.COSINE, vectors[:20])
    live = int(np.count_nonzero(~dead))
    for k in (10, 1_000, 3_000):
        hits = segment.search(queries, k, 32, dead, 1)
        assert set(hits.counts.tolist()) == {min(k, live)}
        real = hits.ids[hits.ids >= 0]
        assert not dead[segment.lookup.rows_of(real)].any()
    exact = scan(queries, segment.block, 10, dead[segment.lookup.rows_of(np.arange(3_000))])
    assert exact.counts.tolist() == [10] * 20


@pytest.mark.slow
def test_each_search_has_its_own_ef(tmp_path: Path) -> None:
    """Searches at the same time with different `ef` get the answers that each gets alone."""
    vectors = floats(16, 3_000, 24)
    block = block_of(ids_of(range(3_000), IdType.INT64), vectors)
    segment = segment_of(tmp_path / "1.seg", spec_of(24), block)
    queries = Queries.prepare(Metric.COSINE, floats(17, 40, 24))
    alone = {ef: segment.search(queries, 5, ef, None, 1).ids.tolist() for ef in (5, 400)}
    assert alone[5] != alone[400]
    start = threading.Barrier(4)

    def search(ef: int) -> bool:
        start.wait(timeout=10)
        answers = [segment.search(queries, 5, ef, None, 1).ids.tolist() for _ in range(15)]
        return all(answer == alone[ef] for answer in answers)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(search, [5, 400, 5, 400]))
