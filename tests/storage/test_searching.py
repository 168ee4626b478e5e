"""How a shard searches: in time, by either walk, and with its vectors in memory or on disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tests import oracle
from tests.pieces import block_of, content_of, floats, spec_of, write
from tests.storage.conftest import LAZY, OpenCatalog, OpenCollection
from tests.storage.model import DIM, Model, batch_of, check, put, search

from fanlight.errors import DeadlineExceeded, InvalidRequest
from fanlight.limits import Limits
from fanlight.model import IdType, Metric, SearchRequest
from fanlight_server import builder
from fanlight_server.collection import Collection
from fanlight_server.index.segment import Segment
from fanlight_server.index.settings import SearchConfig, Walk
from fanlight_server.keeper import SegmentKeeper

WaitUntil = Callable[..., None]
QUERIES = floats(3, 4, DIM)


def indexed(collection: Collection, rows: int) -> Model:
    """Fill a collection, so that nearly all of it has a graph."""
    model = Model(DIM, collection.spec.id_type, collection.spec.metric)
    batch = batch_of(range(rows), collection.spec.id_type)
    put(collection, batch)
    model.put(batch)
    while collection.keeper.build_next(1):
        pass
    assert collection.info().segments
    return model


def test_queries_without_time_left_fail_alone(
    open_collection: OpenCollection, tmp_path: Path
) -> None:
    """After the time is over no query is begun: each fails as late, a bad one as what it is."""
    collection = open_collection(tmp_path, spec_of(DIM), LAZY, create=True)
    indexed(collection, 500)
    queries = QUERIES.copy()
    queries[1] = np.nan
    for exact in (True, False):
        request = SearchRequest("things", queries, 5, exact=exact, score_threshold=-1.0)
        hits = collection.search(request, timeout_s=0.0)
        assert {row: type(error) for row, error in hits.errors.items()} == {
            0: DeadlineExceeded, 1: InvalidRequest, 2: DeadlineExceeded, 3: DeadlineExceeded,
        }  # fmt: skip
        assert hits.counts.tolist() == [0] * 4
        assert (hits.ids == -1).all()
        assert np.isnan(hits.scores).all()
        in_time = collection.search(request, timeout_s=60.0)
        assert set(in_time.errors) == {1}
        assert in_time.counts.tolist() == [5, 0, 5, 5]


def test_time_that_runs_out_between_parts_leaves_no_half_answer(tmp_path: Path) -> None:
    """A query that one part had no time for is not answered from the others.

    Of string ids, that is: parts with others are searched together.
    """
    ticks = count()
    spec = spec_of(DIM, id_type=IdType.STRING)
    collection = Collection(
        tmp_path, spec, 1, Limits(), LAZY, SearchConfig(threads=1),
        now=lambda: float(next(ticks)), create=True,
    )  # fmt: skip
    try:
        indexed(collection, 500)
        # the first part is asked after one tick, the second after two
        hits = collection.search(SearchRequest("things", QUERIES, 5), timeout_s=2.0)
        assert set(hits.errors) == {0, 1, 2, 3}
        assert hits.counts.tolist() == [0] * 4
    finally:
        collection.close()


@pytest.mark.parametrize("walk", ["codes", "vectors"])
@pytest.mark.parametrize("metric", list(Metric))
def test_either_walk_finds_the_neighbours(tmp_path: Path, metric: Metric, walk: Walk) -> None:
    """Codes and vectors lead to the same items, with the same scores."""
    config = SearchConfig(threads=2, walk=walk)
    collection = Collection(tmp_path, spec_of(DIM, metric), 1, Limits(), LAZY, config, create=True)
    try:
        model = indexed(collection, 2_000)
        queries = floats(8, 100, DIM)
        found = search(collection, queries, 10, exact=False, ef=80)
        assert oracle.recall(found, model.best(queries, 10)) > 0.99
    finally:
        collection.close()


@pytest.mark.parametrize("id_type", list(IdType))
def test_vectors_on_disk_change_no_answer(
    open_collection: OpenCollection, tmp_path: Path, id_type: IdType
) -> None:
    """With vectors that are only mapped every answer is that of vectors in memory."""
    spec, config = spec_of(DIM, id_type=id_type), replace(LAZY, vectors="mmap")
    collection = open_collection(tmp_path, spec, config, create=True)
    model = indexed(collection, 700)
    for _ in range(2):
        check(collection, model, QUERIES)
        collection.keeper.release()
        check(collection, model, QUERIES)
        collection.close()
        collection = open_collection(tmp_path, spec, config)


def resident_kb(path: Path) -> int:
    """Tell how much of a file this process has mapped in."""
    entries = re.split(
        r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M
    )
    own = [entry for entry in entries if str(path) in entry]
    assert own
    return sum(int(size) for entry in own for size in re.findall(r"^Rss: +(\d+)", entry, re.M))


def test_released_vectors_leave_memory(tmp_path: Path) -> None:
    """Vectors on disk take no memory when a segment is opened, nor after a release."""
    spec, path = spec_of(256), tmp_path / "1.seg"
    vectors = floats(1, 4_000, 256)
    crc = write(path, spec, content_of(spec, block_of(np.arange(4_000), vectors)))
    segment = Segment(path, spec, crc, keep_vectors=False)
    before = resident_kb(path)
    np.testing.assert_array_equal(segment.block.vectors, vectors)
    assert resident_kb(path) >= before + vectors.nbytes // 1024
    segment.release()
    assert resident_kb(path) <= before + 64
    np.testing.assert_array_equal(segment.block.vectors, vectors)

    kept = Segment(path, spec, crc, keep_vectors=True)
    kept.release()
    assert resident_kb(path) >= before + 2 * (vectors.nbytes // 1024)


def test_the_builder_releases_vectors(
    open_catalog: OpenCatalog, wait_until: WaitUntil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What searches bring in is given back again and again."""
    released: list[SegmentKeeper] = []
    monkeypatch.setattr(builder, "_RELEASE_S", 0.0)
    monkeypatch.setattr(SegmentKeeper, "release", lambda keeper: released.append(keeper))
    catalog = open_catalog(replace(LAZY, vectors="mmap"))
    catalog.create(spec_of(DIM))
    wait_until(lambda: len(released) > 3)


@pytest.mark.parametrize("id_type", list(IdType))
def test_a_start_without_later_changes_sorts_no_ids(
    open_collection: OpenCollection, tmp_path: Path, id_type: IdType
) -> None:
    """Where nothing has to be looked up, the ids of a segment are left as they are."""
    spec = spec_of(DIM, id_type=id_type)
    collection = open_collection(tmp_path, spec, replace(LAZY, idle_rows_min=1), create=True)
    model = indexed(collection, 500)
    for _ in range(2):
        collection.keeper.seal_if_idle()
    while collection.keeper.build_next(1):
        pass
    assert collection.info().unindexed_items == 0
    collection.close()
    again = open_collection(tmp_path, spec, LAZY)
    segments = [part.source for part in again._index.view.segments]
    assert not any("lookup" in vars(segment) for segment in segments)
    check(again, model, QUERIES)
