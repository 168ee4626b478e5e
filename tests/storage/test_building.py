"""Building beside reading and writing: answers stay, writers wait, dead segments go."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests import oracle
from tests.pieces import floats, spec_of
from tests.storage.conftest import LAZY, OpenCatalog, OpenCollection
from tests.storage.model import DIM, WAIT_S, Model, at_rest, batch_of, check, made, put, search

from fanlight.errors import NotReady
from fanlight.model import IdType, Metric
from fanlight_server import builder

WaitUntil = Callable[..., None]


@pytest.mark.slow
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("id_type", list(IdType))
def test_indexing_changes_no_exact_answer_and_no_score(
    open_catalog: OpenCatalog, metric: Metric, id_type: IdType, wait_until: WaitUntil
) -> None:
    """Before and after a graph is built, the same item has the same score, exact or walked."""
    collection = made(open_catalog, metric, id_type)
    model = Model(DIM, id_type, metric)
    queries = floats(5, 4, DIM)
    batch = batch_of(range(1_500), id_type)
    put(collection, batch)
    model.put(batch)
    early = search(collection, queries, 50)
    wait_until(lambda: collection.info().unindexed_items == 0 and at_rest(collection), 30)
    assert collection.info().segments >= 1
    exact, walked = search(collection, queries, 50), search(collection, queries, 50, exact=False)
    oracle.assert_equal(exact, early)
    oracle.assert_equal(exact, model.best(queries, 50))
    for row in range(4):
        score_of = dict(zip(exact.ids[row].tolist(), exact.scores[row].tolist(), strict=True))
        for value, score in zip(walked.ids[row].tolist(), walked.scores[row].tolist(), strict=True):
            assert score_of.get(value, score) == score
    assert oracle.recall(walked, exact) > 0.95


def test_whole_segments_can_die(open_catalog: OpenCatalog, wait_until: WaitUntil) -> None:
    """After all items of all segments are deleted nothing is found and no segment stays."""
    collection = made(open_catalog)
    put(collection, batch_of(range(900)))
    wait_until(lambda: at_rest(collection), 30)
    collection.delete(np.arange(900)).result(WAIT_S)
    check(collection, Model(DIM, IdType.INT64), floats(2, 2, DIM))
    wait_until(lambda: collection.info().segments == 0)
    check(collection, Model(DIM, IdType.INT64), floats(2, 2, DIM))
    put(collection, batch_of(range(10)))
    assert collection.count() == 10


def test_after_a_rest_one_segment_holds_everything(
    open_catalog: OpenCatalog, wait_until: WaitUntil
) -> None:
    """However few rows were written last, a rest brings them into the one graph there is."""
    collection = made(open_catalog)
    model = Model(DIM, IdType.INT64)
    for seed, numbers in enumerate((range(640), range(5_000, 5_025), range(10, 13))):
        batch = batch_of(numbers, seed=seed)
        put(collection, batch)
        model.put(batch)
        wait_until(lambda: at_rest(collection), 30)
    wait_until(
        lambda: collection.info().unindexed_items == 0 and collection.info().segments == 1, 30
    )
    check(collection, model, floats(4, 2, DIM))


@pytest.mark.slow
def test_writers_wait_for_the_builder(
    open_collection: OpenCollection, tmp_path: Path, wait_until: WaitUntil
) -> None:
    """While nothing is built, writes wait at the limit and searches go on; then all is written."""
    config = replace(LAZY, unindexed_bytes=4_096)
    collection = open_collection(tmp_path, spec_of(DIM), config, create=True)
    head_rows = config.head_bytes // (4 * DIM)

    def write() -> None:
        for start in range(0, 1_600, 32):
            put(collection, batch_of(range(start, start + 32)))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        wait_until(lambda: collection.count() >= 2 * head_rows)
        for _ in range(200):
            assert search(collection, floats(2, 1, DIM), 3).counts.tolist() == [3]
        assert not writing.done()
        assert collection.count() <= 3 * head_rows + 32
        while not writing.done():
            collection.keeper.build_next(1)
        writing.result()
    assert collection.count() == 1_600
    assert collection.info().unindexed_items <= 3 * head_rows + 32


def test_closing_lets_waiting_writes_through(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """A writer that waits for the builder is not waited for in vain when the shard stops."""
    config = replace(LAZY, unindexed_bytes=4_096)
    collection = open_collection(tmp_path, spec_of(DIM), config, create=True)
    put(collection, batch_of(range(1_000)))
    late = collection.upsert(batch_of(range(1_000, 1_010)))
    assert collection.count() == 1_000
    collection.close()
    assert late.result(WAIT_S).written == 10
    assert open_collection(tmp_path, spec_of(DIM), config).count() == 1_010


def test_after_a_failed_build_reads_go_on_and_writes_are_refused(
    open_catalog: OpenCatalog,
    wait_until: WaitUntil,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While no segment can be written answers stay complete; writes wait until one can."""
    monkeypatch.setattr(builder, "_RETRY_S", 0.2)
    collection = made(open_catalog)
    segments = next(tmp_path.rglob("segments"))
    obstacles = [segments / f"{number:08d}.seg" for number in range(1, 500)]
    for obstacle in obstacles:
        obstacle.mkdir()
    model = Model(DIM, IdType.INT64)
    batch = batch_of(range(300))
    put(collection, batch)
    model.put(batch)

    def refused() -> bool:
        try:
            collection.keeper.check_writable()
        except NotReady:
            return True
        return False

    wait_until(refused)
    with pytest.raises(NotReady, match="cannot build its index"):
        collection.upsert(batch_of(range(5)))
    check(collection, model, floats(3, 2, DIM))

    for obstacle in obstacles:
        obstacle.rmdir()
    wait_until(lambda: not refused())
    put(collection, batch_of(range(5)))
    wait_until(lambda: collection.info().segments)


@pytest.mark.slow
@pytest.mark.parametrize("metric", list(Metric))
def test_recall_survives_growth_and_deletions(
    open_collection: OpenCollection, tmp_path: Path, metric: Metric
) -> None:
    """A graph that was extended again and again over dead rows finds nearly all true neighbours."""
    collection = open_collection(tmp_path, spec_of(DIM, metric), LAZY, create=True)
    model = Model(DIM, IdType.INT64, metric)
    for step in range(8):
        batch = batch_of(range(step * 400, step * 400 + 500), seed=step)
        put(collection, batch)
        model.put(batch)
        gone = np.arange(step * 400, step * 400 + 500, 9)
        collection.delete(gone).result(WAIT_S)
        model.drop(gone)
        while collection.keeper.build_next(1):
            pass
    assert collection.info().unindexed_items < 600
    queries = floats(77, 100, DIM)
    walked = search(collection, queries, 10, exact=False, ef=40)
    assert oracle.recall(walked, model.best(queries, 10)) > 0.985
