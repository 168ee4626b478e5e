"""Start after stop: the same answers, nothing built twice, and damage repaired."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import floats, ids_of, spec_of
from tests.storage.conftest import BUSY, LAZY, STILL, OpenCatalog, OpenCollection
from tests.storage.model import Model, check, search

from fanlight.errors import Corruption
from fanlight.model import IdType, ItemBatch, Metric
from fanlight_server.catalog import Catalog
from fanlight_server.collection import Collection
from fanlight_server.index import index
from fanlight_server.storage import marks
from fanlight_server.storage.filesystem import LOCAL_FILES

ID_TYPES = list(IdType)
DIM = 8
WAIT_S = 20
QUERIES = floats(99, 3, DIM)
WaitUntil = Callable[..., None]


class Shard:
    """A data directory with one collection, and the model of its items."""

    def __init__(self, open_catalog: OpenCatalog, id_type: IdType, metric: Metric) -> None:
        self.open_catalog = open_catalog
        self.model = Model(DIM, id_type, metric)
        self.catalog: Catalog = open_catalog()
        self.catalog.create(spec_of(DIM, metric, id_type))

    @property
    def collection(self) -> Collection:
        return self.catalog.get("things")

    def put(self, numbers: range, seed: int = 1) -> None:
        ids = ids_of(numbers, self.model.id_type)
        batch = ItemBatch(ids, floats(seed, len(ids), DIM), [b'{"n": %d}' % n for n in numbers])
        self.collection.upsert(batch).result(WAIT_S)
        self.model.put(batch)

    def delete(self, numbers: range) -> None:
        ids = ids_of(numbers, self.model.id_type)
        self.collection.delete(ids).result(WAIT_S)
        self.model.drop(ids)

    def at_rest(self) -> bool:
        info = self.collection.info()
        return info.unindexed_items < BUSY.idle_rows_min and info.segments <= 2

    def restart(self, index: object = BUSY, **changes: object) -> None:
        self.catalog.close()
        self.catalog = self.open_catalog(index, **changes)

    def check(self) -> None:
        check(self.collection, self.model, QUERIES)


@pytest.fixture(params=ID_TYPES)
def shard(open_catalog: OpenCatalog, request: pytest.FixtureRequest) -> Shard:
    """Give an empty shard with either type of ids."""
    return Shard(open_catalog, request.param, Metric.COSINE)


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """Give the directory of the segments."""
    return tmp_path / "data" / "collections" / "things@1" / "segments"


def files_in(segments: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in segments.iterdir()}


@pytest.fixture
def two_segments(
    shard: Shard, wait_until: WaitUntil, segments: Path, monkeypatch: pytest.MonkeyPatch
) -> Shard:
    """Give a shard at rest with a large and a small segment, changes after both, and tombstones."""
    # no rest is long enough to make one of the two, nor to index the few rows in the head
    monkeypatch.setattr(index, "_REST_BYTES", 0)
    monkeypatch.setattr(index, "_LONG_REST", 1_000_000)
    shard.put(range(640))
    wait_until(shard.at_rest, 30)
    shard.put(range(5_000, 5_025), seed=2)
    wait_until(lambda: shard.at_rest() and len(files_in(segments)) == 2, 30)
    shard.put(range(10, 15), seed=3)
    shard.delete(range(20, 30))
    shard.delete(range(5_001, 5_003))
    return shard


def listed(segments: Path) -> list[str]:
    with sqlite3.connect(segments.parent / "items.db") as db:
        names = [name for (name,) in db.execute("SELECT name FROM segments ORDER BY name")]
    db.close()
    return names


@pytest.mark.slow
def test_a_restart_changes_no_answer_and_no_file(
    two_segments: Shard, wait_until: WaitUntil, segments: Path
) -> None:
    """After stop and start: the same ids and scores, exact and walked, and no segment is touched."""
    shard, before = two_segments, files_in(segments)
    answers = [search(shard.collection, QUERIES, 50, exact=exact) for exact in (True, False)]
    for _ in range(2):
        looks: list[float] = []

        def now(looks: list[float] = looks) -> float:
            # each look of the builder at the clock is a second later
            looks.append(float(len(looks)))
            return looks[-1]

        shard.restart(now=now)
        wait_until(lambda looks=looks: len(looks) > 20)
        shard.check()
        for exact, expected in zip((True, False), answers, strict=True):
            got = search(shard.collection, QUERIES, 50, exact=exact)
            np.testing.assert_array_equal(got.ids, expected.ids)
            np.testing.assert_array_equal(got.scores, expected.scores)
        assert files_in(segments) == before


@pytest.mark.slow
def test_writes_go_on_after_a_restart(two_segments: Shard, wait_until: WaitUntil) -> None:
    """Numbers of changes and of files go on where they ended, over several restarts."""
    shard = two_segments
    for turn in range(3):
        shard.restart()
        shard.put(range(turn * 300, turn * 300 + 400), seed=10 + turn)
        shard.delete(range(turn * 7, turn * 7 + 5))
        shard.check()
        if turn == 1:
            wait_until(shard.at_rest, 30)
            shard.check()


def test_a_restart_with_everything_in_the_head(shard: Shard) -> None:
    """What was never indexed is read back from the store, newest state only."""
    shard.restart(STILL)
    shard.put(range(50))
    shard.put(range(25, 75), seed=2)
    shard.delete(range(0, 60, 3))
    shard.restart(STILL)
    shard.check()
    assert shard.collection.info().segments == 0


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def swap(path: Path) -> None:
    other = next(other for other in path.parent.iterdir() if other != path)
    path.unlink()
    shutil.copy(other, path)


@pytest.mark.slow
@pytest.mark.parametrize("shard", [IdType.INT64], indirect=True)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("damage", [flip, truncate, empty, swap, Path.unlink])
def test_a_damaged_segment_is_rebuilt(
    two_segments: Shard,
    segments: Path,
    which: int,
    damage: Callable[[Path], None],
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A damaged or missing segment costs a warning and a build, but not one hit.

    Not even when the shard is stopped again before the items have a graph.
    """
    shard = two_segments
    shard.catalog.close()
    name = listed(segments)[which]
    damage(segments / name)
    with caplog.at_level(logging.WARNING):
        shard.restart(STILL)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert name in caplog.text
    shard.check()
    assert listed(segments) == sorted(files_in(segments))
    caplog.clear()
    shard.restart(STILL)
    shard.check()
    shard.restart()
    wait_until(shard.at_rest, 30)
    shard.check()
    shard.restart()
    shard.check()
    assert not caplog.records


@pytest.mark.slow
def test_all_segments_damaged(
    two_segments: Shard, segments: Path, wait_until: WaitUntil, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a single sound segment everything is read from the store."""
    shard = two_segments
    shard.catalog.close()
    for path in segments.iterdir():
        flip(path)
    shard.restart()
    assert len(caplog.records) == 2
    shard.check()
    wait_until(shard.at_rest, 30)
    shard.check()


def test_waste_in_the_directory_is_removed(
    two_segments: Shard,
    segments: Path,
    wait_until: WaitUntil,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Temporary and unlisted files are removed at start; their names are not used again by it."""
    shard = two_segments
    shard.catalog.close()
    names = listed(segments)
    (segments / "00000777.seg.tmp").write_bytes(b"half")
    shutil.copy(segments / names[0], segments / "00000778.seg")
    (segments / "notes.txt").write_text("?")
    shard.restart(STILL)
    assert sorted(path.name for path in segments.iterdir()) == names
    shard.check()
    shard.put(range(8_000, 8_700), seed=4)
    for _ in range(2):
        shard.collection.keeper.seal_if_idle()
    wait_until(lambda: max(listed(segments)) >= "00000779.seg")
    shard.check()
    assert not caplog.records


class Snapshots:
    """Copies of a data directory, taken between the steps of a build."""

    def __init__(self, source: Path, target: Path) -> None:
        self.source, self.target = source, target
        self.building = False
        self.taken: list[tuple[str, Path]] = []

    def take(self, moment: str) -> None:
        if self.building:
            copy = self.target / f"{len(self.taken)}-{moment}"
            shutil.copytree(self.source, copy)
            self.taken.append((moment, copy))

    def of_builds(self, collection: Collection) -> list[Path]:
        """Build until nothing is due; give the copies that were taken meanwhile."""
        start, self.building = len(self.taken), True
        while collection.keeper.build_next(1):
            pass
        self.take("after-all")
        self.building = False
        assert len({moment for moment, _ in self.taken[start:]}) == 5
        return [copy for _, copy in self.taken[start:]]

    def before(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        """Take one before each call."""
        inner = getattr(owner, name)

        def call(*args: object, **kwargs: object) -> object:
            self.take(f"before-{name}")
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)


@pytest.mark.slow
@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_copy_taken_at_any_step_of_a_build_is_whole(
    open_collection: OpenCollection,
    tmp_path: Path,
    id_type: IdType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever step of building, listing and removing was the last: all items, and only they."""
    model, home = Model(DIM, id_type), tmp_path / "home"
    spec = spec_of(DIM, id_type=id_type)
    collection = open_collection(home, spec, LAZY, create=True)
    shots = Snapshots(home, tmp_path / "copies")
    shots.before(monkeypatch, collection._store, "replace_segments")
    shots.before(monkeypatch, collection._index, "publish")
    shots.before(monkeypatch, LOCAL_FILES, "sync_directory")
    shots.before(monkeypatch, os, "fsync")
    for turn, numbers in enumerate((range(400), range(300, 800))):
        batch = ItemBatch(ids_of(numbers, id_type), floats(turn, len(numbers), DIM))
        collection.upsert(batch).result(WAIT_S)
        model.put(batch)
        gone = ids_of(range(turn * 100, turn * 100 + 90), id_type)
        collection.delete(gone).result(WAIT_S)
        model.drop(gone)
        for copy in shots.of_builds(collection):
            image = open_collection(copy, spec, LAZY)
            check(image, model, QUERIES)
            while image.keeper.build_next(1):
                pass
            check(image, model, QUERIES)
            image.close()
            check(open_collection(copy, spec, LAZY), model, QUERIES)


def outcome(directory: Path, open_collection: OpenCollection, id_type: IdType) -> str:
    """Open and read a damaged collection; only Corruption may come of it."""
    try:
        collection = open_collection(directory, spec_of(DIM, id_type=id_type), STILL)
    except Corruption:
        return "refused at start"
    try:
        search(collection, QUERIES, 400)
        collection.scroll(400, b"")
        collection.get(ids_of(range(-10, 400), id_type))
    except Corruption:
        return "refused when read"
    finally:
        collection.close()
    return "answered"


@pytest.mark.slow
@pytest.mark.parametrize("id_type", ID_TYPES)
def test_a_flipped_bit_in_the_items_is_no_crash(
    open_collection: OpenCollection, tmp_path: Path, id_type: IdType
) -> None:
    """Wherever a bit of items.db is flipped: answers or Corruption, and Corruption for most."""
    collection = open_collection(tmp_path, spec_of(DIM, id_type=id_type), STILL, create=True)
    batch = ItemBatch(ids_of(range(300), id_type), floats(1, 300, DIM), [b'{"a": 1}'] * 300)
    collection.upsert(batch).result(WAIT_S)
    collection.delete(ids_of(range(20), id_type)).result(WAIT_S)
    collection.close()
    sound = (tmp_path / "items.db").read_bytes()
    choice, outcomes = random.Random(6), []
    # most bytes are room to grow
    used = [place for place, byte in enumerate(sound) if byte]
    for place in choice.sample(used, 120):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << choice.randrange(8)
        (tmp_path / "items.db").write_bytes(damaged)
        outcomes.append(outcome(tmp_path, open_collection, id_type))
    assert outcomes.count("answered") < 40


def test_a_list_that_names_a_file_that_never_was(
    two_segments: Shard, segments: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row of the list without a file is dropped like a damaged segment."""
    shard = two_segments
    shard.catalog.close()
    with sqlite3.connect(segments.parent / "items.db") as db:
        db.execute("INSERT INTO segments VALUES ('00000999.seg', 1, 1)")
        marks.write(db, marks.listing_of(db))
    db.close()
    shard.restart(STILL)
    assert "00000999.seg" in caplog.text
    shard.check()
    assert "00000999.seg" not in listed(segments)
