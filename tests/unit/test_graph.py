"""Graphs: built, extended, taken apart, loaded and walked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import hnswlib
import numpy as np
import pytest
from tests import oracle
from tests.pieces import block_of, floats, ids_of, scanned, searched, segment_of, spec_of

import fanlight_kernel as kernel
from fanlight.model import CollectionSpec, Floats, IdType, Metric, Rows
from fanlight_server.index import graph
from fanlight_server.index.block import Block
from fanlight_server.index.settings import Walk

METRICS = list(Metric)
SPACES: dict[Metric, Literal["cosine", "ip", "l2"]] = {
    Metric.COSINE: "cosine",
    Metric.DOT: "ip",
    Metric.L2: "l2",
}


def never() -> bool:
    return False


def built(
    spec: CollectionSpec,
    vectors: Floats,
    base: graph.GraphArrays | None = None,
    threads: int = 1,
    stopped: Callable[[], bool] = never,
) -> tuple[graph.GraphArrays, Rows]:
    lengths = kernel.lengths(vectors)
    return graph.build(spec, vectors, lengths, base, threads=threads, stopped=stopped)


def rows_found(
    block: Block, arrays: graph.GraphArrays, queries: Floats, k: int, ef: int, walk: Walk
) -> Rows:
    """Walk a graph over a block: (n, k) row numbers."""
    walked = kernel.Graph(
        block.scored, arrays.links, arrays.levels, arrays.upper, arrays.entry_point,
        arrays.top_level,
    )  # fmt: skip
    return walked.search(queries, k, ef, walk=walk).rows


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
    vectors, queries = floats(1, 2_500, 12), floats(2, 50, 12)
    own = hnswlib.Index(SPACES[metric], 12)
    own.init_index(len(vectors), M=spec.m, ef_construction=spec.ef_construction)
    # as long as the longest at most, where a distance is 1 - product: what digits it has left
    scale = np.linalg.norm(vectors, axis=1).max() if metric is Metric.DOT else np.float32(1)
    own.add_items(vectors / scale, num_threads=1)
    own.set_ef(40)
    expected, _ = own.knn_query(queries, k=10, num_threads=1)

    arrays, order = built(spec, vectors)
    check_sound(arrays, 2_500, spec)
    block = block_of(np.arange(2_500), vectors, metric=metric).take(order)
    found = order[rows_found(block, arrays, queries, 10, 40, "vectors")]
    shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), expected.tolist(), strict=True)]
    # but for rounding at the end of a list of candidates
    assert sum(shared) >= 0.998 * expected.size


@pytest.mark.parametrize("metric", METRICS)
def test_an_extended_graph_finds_old_and_new(metric: Metric) -> None:
    """A graph that grows in steps finds rows of every step about as well as one built at once."""
    spec = spec_of(12, metric)
    vectors = floats(3, 3_000, 12)
    arrays, order = built(spec, vectors[:1_000])
    for stop in (1_001, 2_000, 3_000):
        rows = np.concatenate([order, np.arange(len(order), stop)])
        arrays, step = built(spec, vectors[rows], arrays)
        order = rows[step]
        check_sound(arrays, stop, spec)
    assert sorted(order.tolist()) == list(range(3_000))
    block = block_of(np.arange(3_000), vectors, metric=metric)
    queries = vectors[::50].copy()
    found = rows_found(block.take(order), arrays, queries, 1, 60, "codes")
    exact = scanned(block, queries, 1)
    assert np.mean(order[found] == exact.ids) >= 0.98


def test_extending_by_nothing_keeps_the_graph() -> None:
    """A graph extended by no rows stays as it is."""
    spec = spec_of(6)
    vectors = floats(4, 300, 6)
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
    block = block_of(np.arange(rows), vectors[:rows], metric=Metric.L2).take(order)
    found = rows_found(block, arrays, vectors[:1], rows, 10, "codes")
    assert sorted(found[0].tolist()) == list(range(rows))
    grown, step = built(spec, np.concatenate([vectors[:rows][order], vectors[rows:]]), arrays)
    check_sound(grown, 200, spec)
    assert sorted(step.tolist()) == list(range(200))


def test_several_threads_lose_no_row() -> None:
    """A graph built by several threads holds every row once."""
    spec = spec_of(8)
    vectors = floats(6, 3_000, 8)
    arrays, order = built(spec, vectors, threads=4)
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
        built(spec_of(4, Metric.L2), vectors, stopped=third_time)
    assert asked == [False, False, True]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 300, 1_500])
def test_hundreds_of_equal_vectors_are_answered(tmp_path: Path, metric: Metric, k: int) -> None:
    """Equal vectors that cut a graph apart leave no query without its k hits, nor with doubles."""
    vectors = floats(8, 1_200, 6)
    vectors[:900] = vectors[0]
    block = block_of(ids_of(range(1_200), IdType.INT64), vectors, metric=metric)
    segment = segment_of(tmp_path / "1.seg", spec_of(6, metric), block)
    queries = np.concatenate([vectors[[0, 950]], floats(9, 3, 6)])
    for dead in (None, np.arange(1_200) % 3 == 0):
        live = 1_200 if dead is None else 800
        hits = searched(segment, queries, k, 16, dead)
        assert hits.counts.tolist() == [min(k, live)] * 5
        for row in hits.ids.tolist():
            real = [value for value in row if value >= 0]
            assert len(set(real)) == min(k, live)
            assert dead is None or not dead[segment.lookup.rows_of(np.array(real))].any()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-15, 1e-4, 1.0, 1e17])
def test_recall_does_not_depend_on_scale(tmp_path: Path, metric: Metric, scale: float) -> None:
    """Very short and very long vectors are found as well as others."""
    vectors = (floats(10, 2_000, 16) * scale).astype(np.float32)
    block = block_of(ids_of(range(2_000), IdType.INT64), vectors, metric=metric)
    segment = segment_of(tmp_path / "1.seg", spec_of(16, metric), block)
    queries = (floats(11, 50, 16) * scale).astype(np.float32)
    exact = scanned(block, queries, 10)
    assert oracle.recall(searched(segment, queries, 10, 200), exact) > 0.9


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("id_type", list(IdType))
def test_scores_of_a_segment_are_those_of_the_scan(
    tmp_path: Path, metric: Metric, id_type: IdType
) -> None:
    """An item found by the graph has, to the last bit, the score it has in an exact scan."""
    vectors = (floats(12, 1_500, 40) * np.float32(3)).astype(np.float32)
    block = block_of(ids_of(range(1_500), id_type), vectors, metric=metric)
    segment = segment_of(tmp_path / "1.seg", spec_of(40, metric, id_type), block)
    queries = floats(13, 20, 40)
    exact = scanned(block, queries, 1_500)
    by_graph = searched(segment, queries, 50, 100)
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
    queries = vectors[:20]
    live = int(np.count_nonzero(~dead))
    for k in (10, 1_000, 3_000):
        hits = searched(segment, queries, k, 32, dead)
        assert set(hits.counts.tolist()) == {min(k, live)}
        real = hits.ids[hits.ids >= 0]
        assert not dead[segment.lookup.rows_of(real)].any()
    exact = scanned(segment.block, queries, 10, dead)
    assert oracle.recall(searched(segment, queries, 10, 100, dead), exact) > 0.95


@pytest.mark.slow
def test_each_search_has_its_own_ef(tmp_path: Path) -> None:
    """Searches at the same time with different `ef` get the answers that each gets alone."""
    vectors = floats(16, 3_000, 24)
    block = block_of(ids_of(range(3_000), IdType.INT64), vectors)
    segment = segment_of(tmp_path / "1.seg", spec_of(24), block)
    queries = floats(17, 40, 24)
    alone = {ef: searched(segment, queries, 5, ef).ids.tolist() for ef in (5, 400)}
    assert alone[5] != alone[400]
    start = threading.Barrier(4)

    def search(ef: int) -> bool:
        start.wait(timeout=10)
        answers = [searched(segment, queries, 5, ef).ids.tolist() for _ in range(15)]
        return all(answer == alone[ef] for answer in answers)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(search, [5, 400, 5, 400]))
