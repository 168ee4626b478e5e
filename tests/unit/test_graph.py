"""Graphs: built, extended and searched through segments."""

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
from fanlight.model import Floats, IdType, Metric, Rows
from fanlight.topk import TopK
from fanlight_server.index import graph
from fanlight_server.index.block import Block
from fanlight_server.index.effort import BuildStopped, Effort

METRICS = list(Metric)
SPACES: dict[Metric, Literal["cosine", "ip", "l2"]] = {
    Metric.COSINE: "cosine",
    Metric.DOT: "ip",
    Metric.L2: "l2",
}


def never() -> bool:
    return False


def built(
    block: Block,
    base: graph.GraphArrays | None = None,
    threads: int = 1,
    stopped: Callable[[], bool] = never,
) -> graph.GraphArrays:
    spec = spec_of(block.dim, block.metric)
    return graph.build(spec, block.codes, base, Effort(threads, stopped))


def rows_of(metric: Metric, vectors: Floats) -> Block:
    return block_of(np.arange(len(vectors)), vectors, metric=metric)


def rows_found(block: Block, arrays: graph.GraphArrays, queries: Floats, k: int, ef: int) -> Rows:
    """Walk a graph over a block: (n, k) row numbers."""
    return kernel.Graph(block.scored, *arrays).search(queries, k, ef).rows


def check_sound(arrays: graph.GraphArrays, rows: int) -> None:
    """Check what a reader of the arrays relies on."""
    spec = spec_of(1)
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
def test_a_graph_finds_as_much_as_that_of_hnswlib(metric: Metric) -> None:
    """Walked with the same `ef`, a graph finds about what hnswlib finds in its own."""
    spec = spec_of(12, metric)
    vectors, queries = floats(1, 2_500, 12), floats(2, 200, 12)
    own = hnswlib.Index(SPACES[metric], 12)
    own.init_index(len(vectors), M=spec.m, ef_construction=spec.ef_construction)
    own.add_items(vectors, num_threads=1)
    own.set_ef(40)
    block = rows_of(metric, vectors)
    arrays = built(block)
    check_sound(arrays, 2_500)
    exact = scanned(block, queries, 10)
    recalls = [
        oracle.recall(TopK(ids, exact.scores, exact.counts), exact)
        for ids in (
            rows_found(block, arrays, queries, 10, 40),
            own.knn_query(queries, k=10)[0].astype(np.int64),
        )
    ]
    assert recalls[0] >= recalls[1] - 0.01


@pytest.mark.parametrize("metric", METRICS)
def test_an_extended_graph_finds_old_and_new(metric: Metric) -> None:
    """A graph that grows in steps finds rows of every step about as well as one built at once."""
    vectors = floats(3, 3_000, 12)
    arrays = None
    for stop in (1_000, 1_001, 2_000, 3_000):
        arrays = built(rows_of(metric, vectors[:stop]), arrays)
        check_sound(arrays, stop)
    assert arrays is not None
    block, queries = rows_of(metric, vectors), vectors[::50].copy()
    found = rows_found(block, arrays, queries, 1, 60)
    assert np.mean(found == scanned(block, queries, 1).ids) >= 0.98


def test_extending_by_nothing_keeps_what_is_found() -> None:
    """A graph extended by no rows finds what it found."""
    block = rows_of(Metric.COSINE, floats(4, 300, 6))
    arrays = built(block)
    same = built(block, arrays)
    check_sound(same, 300)
    queries = floats(5, 20, 6)
    np.testing.assert_array_equal(
        rows_found(block, arrays, queries, 5, 40), rows_found(block, same, queries, 5, 40)
    )


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_graph_of_few_rows(rows: int) -> None:
    """A graph of one row is a graph, and can be extended."""
    vectors = floats(5, 200, 3)
    block = rows_of(Metric.L2, vectors[:rows])
    arrays = built(block)
    check_sound(arrays, rows)
    found = rows_found(block, arrays, vectors[:1], rows, 10)
    assert sorted(found[0].tolist()) == list(range(rows))
    check_sound(built(rows_of(Metric.L2, vectors), arrays), 200)


def test_several_threads_lose_no_row() -> None:
    """A graph built by several threads finds every row."""
    block = rows_of(Metric.COSINE, floats(6, 3_000, 8))
    arrays = built(block, threads=4)
    check_sound(arrays, 3_000)
    found = rows_found(block, arrays, block.vectors, 1, 60)[:, 0]
    assert np.mean(found == np.arange(3_000)) >= 0.999


def test_a_build_stops_when_told() -> None:
    """A build asks again and again whether to stop, and then raises; nothing of it remains."""
    asked: list[bool] = []

    def third_time() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    with pytest.raises(BuildStopped):
        built(rows_of(Metric.L2, floats(7, 10_000, 4)), stopped=third_time)
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
