"""The state of a disk: what makes it full, what makes it failed, and what becomes of writes then."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest
from tests.pieces import floats, ids_of
from tests.storage.conftest import BUSY, LAZY, OpenCatalog, OpenCollection
from tests.storage.model import batch_of, put, search

from fanlight.errors import Corruption, NotReady, Overloaded
from fanlight.model import CollectionSpec, IdType
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.files import publish
from fanlight_server.storage.filesystem import Chunk, LocalFiles, Space
from fanlight_server.storage.settings import StorageConfig
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Change
from fanlight_server.storage.wal import WalGauge

GIB = 1 << 30
SPEC = CollectionSpec("things", 8, m=8, ef_construction=64)
WAIT_S = 20


class FakeFiles(LocalFiles):
    """The real files, of which one kind of call can fail; and any free space."""

    def __init__(self) -> None:
        self.free = 100 * GIB
        self.failing = ""
        self.error = errno.EIO

    def space(self, path: Path) -> Space:
        self._meet("space")
        return Space(self.free, 100 * GIB)

    def write(self, path: Path, chunks: Iterable[Chunk]) -> None:
        self._meet("write")
        super().write(path, chunks)

    def rename(self, source: Path, target: Path) -> None:
        self._meet("rename")
        super().rename(source, target)

    def sync_directory(self, path: Path) -> None:
        self._meet("sync_directory")
        super().sync_directory(path)

    def make_directory(self, path: Path) -> None:
        self._meet("make_directory")
        super().make_directory(path)

    def _meet(self, call: str) -> None:
        if call == self.failing:
            raise OSError(self.error, "as the test wants it")


@pytest.fixture
def files() -> FakeFiles:
    """Give files that work."""
    return FakeFiles()


@pytest.fixture
def disk(tmp_path: Path, files: FakeFiles) -> Disk:
    """Give a disk on them, which looks at its space whenever it is asked."""
    config = StorageConfig(free_bytes_min=10 * GIB, free_share_min=0.05, free_margin=0.5)
    clock = iter(range(1_000_000))
    return Disk(tmp_path, config, files, now=lambda: float(next(clock)))


def test_writes_stop_before_the_disk_is_full(disk: Disk, files: FakeFiles) -> None:
    """Below the reserve writes are refused with the figures; above it and a margin they are taken."""
    steps = [(10 * GIB, True), (10 * GIB - 1, False), (15 * GIB - 1, False), (15 * GIB, True)]
    for free, is_taken in [*steps, (10 * GIB, True), (0, False), (100 * GIB, True)]:
        files.free = free
        refusal = disk.refusal
        assert (refusal is None) is is_taken, free
        if refusal is not None:
            assert isinstance(refusal, Overloaded)
            assert refusal.field == "disk"
            assert str(free) in refusal.message
            assert str(10 * GIB) in refusal.message
            assert str(15 * GIB) in refusal.message
            assert refusal.retry_after_s is not None


def test_the_larger_reserve_counts(tmp_path: Path, files: FakeFiles) -> None:
    """A share of a large disk may be more than the bytes that are to stay free."""
    disk = Disk(tmp_path, StorageConfig(free_bytes_min=GIB, free_share_min=0.2), files)
    files.free = 20 * GIB - 1
    disk._look()
    assert isinstance(disk.refusal, Overloaded)


def test_a_full_disk_is_no_failed_one(disk: Disk, files: FakeFiles) -> None:
    """What finds no room is refused as Overloaded; the next look finds that there is some."""
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota")):
        files.free = 0
        with pytest.raises(Overloaded), disk.writing("segment", "things"):
            raise error
        with pytest.raises(Overloaded):
            disk.check_writable()
        files.free = 50 * GIB
        disk.check_writable()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENXIO])
def test_after_a_failure_nothing_is_written(
    disk: Disk, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The first I/O error is the last write: all others are refused, and not even begun."""
    told: list[str] = []
    disk.on_failure(lambda: told.append("before"))
    with pytest.raises(NotReady, match="segment"), disk.writing("segment", "things"):
        raise OSError(number, "/secret/path")
    disk.on_failure(lambda: told.append("after"))
    assert told == ["before", "after"]
    with pytest.raises(NotReady) as caught:
        disk.check_writable()
    assert "secret" not in caught.value.message
    with pytest.raises(NotReady), disk.writing("items", "things"):
        pytest.fail("begun")
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOENT, errno.EACCES])
def test_other_errors_are_not_the_disks(disk: Disk, number: int) -> None:
    """A process out of file handles has no failed disk."""
    with pytest.raises(OSError, match="x"), disk.writing("segment", "things"):
        raise OSError(number, "x")
    disk.check_writable()


def test_a_damaged_database_is_no_failed_disk(disk: Disk, tmp_path: Path) -> None:
    """SQLite's word on its own file is Corruption, and other collections are written on."""
    path = tmp_path / "bad.db"
    path.write_bytes(b"garbage" * 5_000)
    with (
        closing(sqlite3.connect(path)) as db,
        pytest.raises(Corruption),
        disk.writing("items", "bad.db"),
    ):
        db.execute("CREATE TABLE t (x)")
    disk.check_writable()


@pytest.mark.parametrize("failing", ["write", "rename", "sync_directory"])
def test_a_publication_that_fails_leaves_no_half_file(
    tmp_path: Path, files: FakeFiles, failing: str
) -> None:
    """Where a file cannot be published, no temporary one stays; and what was there is there."""
    (tmp_path / "file").write_bytes(b"old")
    files.failing = failing
    with pytest.raises(OSError, match="wants"):
        publish(tmp_path / "file", [b"new"], files)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    expected = b"new" if failing == "sync_directory" else b"old"
    assert (tmp_path / "file").read_bytes() == expected


@pytest.mark.parametrize("failing", ["write", "rename", "sync_directory"])
def test_a_segment_that_cannot_be_written_stops_all_writes(
    open_catalog: OpenCatalog,
    tmp_path: Path,
    files: FakeFiles,
    failing: str,
    wait_until: Callable[..., None],
) -> None:
    """Not only the segment: what the disk did to it, it may do to the items. Searches go on."""
    disk = Disk(tmp_path, StorageConfig(free_bytes_min=0, free_share_min=0), files)
    catalog = open_catalog(BUSY, disk=disk)
    catalog.create(SPEC)
    catalog.create(CollectionSpec("other", 8))
    things = catalog.get("things")
    files.failing = failing
    put(things, batch_of(range(300)))
    wait_until(lambda: isinstance(catalog.write_refusal, NotReady))
    files.failing = ""
    for refused in (
        lambda: things.upsert(batch_of(range(1))).result(WAIT_S),
        lambda: things.delete(ids_of(range(1), IdType.INT64)).result(WAIT_S),
        lambda: catalog.get("other").upsert(batch_of(range(1))).result(WAIT_S),
        lambda: catalog.create(CollectionSpec("third", 8)),
        lambda: catalog.delete("other"),
    ):
        with pytest.raises(NotReady, match="segment"):
            refused()
    assert search(things, floats(1, 2, 8), 300).counts.tolist() == [300, 300]
    catalog.close()
    again = open_catalog(BUSY)
    put(again.get("things"), batch_of(range(300, 301)))
    assert again.get("things").count() == 301


def test_builds_wait_while_the_disk_is_full(
    open_catalog: OpenCatalog, tmp_path: Path, files: FakeFiles, wait_until: Callable[..., None]
) -> None:
    """Nothing is built on a full disk, no write waits for the builder, and all goes on with room."""
    disk = Disk(tmp_path, StorageConfig(free_bytes_min=GIB, free_share_min=0), files)
    catalog = open_catalog(LAZY, disk=disk)
    catalog.create(SPEC)
    things = catalog.get("things")
    put(things, batch_of(range(40)))
    files.free = 0
    wait_until(lambda: catalog.write_refusal is not None)
    with pytest.raises(Overloaded, match="disk is full"):
        things.upsert(batch_of(range(40, 400))).result(WAIT_S)
    assert things._index.seal(1)
    assert not things.keeper.build_next(1)
    assert search(things, floats(1, 2, 8), 300).counts.tolist() == [40, 40]
    catalog.delete("things")  # makes room
    files.free = 50 * GIB
    catalog.create(SPEC)
    put(catalog.get("things"), batch_of(range(400)))
    wait_until(lambda: catalog.get("things").info().segments, 30)


@pytest.mark.parametrize("is_known", [True, False])
def test_nobody_waits_for_a_segment_that_does_not_fit(
    open_collection: OpenCollection, tmp_path: Path, files: FakeFiles, is_known: bool
) -> None:
    """Known before or found out: writes are refused rather than kept waiting, until it fits."""
    disk = Disk(tmp_path, StorageConfig(free_bytes_min=0, free_share_min=0), files)
    things = open_collection(tmp_path / "things", SPEC, LAZY, create=True, disk=disk)
    put(things, batch_of(range(300)))
    if is_known:
        files.free = 1_000
        assert not things.keeper.build_next(1)
    else:
        files.failing, files.error = "write", errno.ENOSPC
        with pytest.raises(Overloaded):
            things.keeper.build_next(1)
        files.failing = ""
    with pytest.raises(Overloaded, match="the next segment needs"):
        things.upsert(batch_of(range(300, 301))).result(WAIT_S)
    assert not things.keeper.build_next(1)
    assert not list((tmp_path / "things" / "segments").iterdir())
    files.free = 200 * GIB
    put(things, batch_of(range(300, 301)))
    assert things.keeper.build_next(1)
    assert things.info().segments == 1


@pytest.mark.parametrize("rows", [1, 40, 700])
def test_the_length_of_a_log_is_measured(tmp_path: Path, rows: int) -> None:
    """The gauge says what SQLite says, also where an older and longer round lies behind."""
    path = tmp_path / "items.db"
    disk = Disk(tmp_path, StorageConfig(wal_bytes=1 << 40))
    store = Store(path, 8, IdType.INT64, disk, create=True)
    gauge, seq = WalGauge(tmp_path / "items.db-wal"), 1
    for turn in range(12):
        numbers = ids_of(range(turn, 5_000 * rows, 5_000), IdType.INT64)
        store.write([Change(numbers, seq, floats(turn, len(numbers), 8))])
        seq += len(numbers)
        used = gauge.used_bytes()
        fresh = WalGauge(tmp_path / "items.db-wal").used_bytes()
        if turn % 5 == 4:
            _, frames, copied = store._writer.execute("PRAGMA wal_checkpoint").fetchone()
            assert frames == copied
            assert used == fresh == frames * (16_384 + 24)
    store.close()


def test_the_log_is_copied_when_it_is_long(tmp_path: Path) -> None:
    """A log stays as short as the configuration says, give or take one write."""
    disk = Disk(tmp_path, StorageConfig(wal_bytes=1 << 20))
    store = Store(tmp_path / "items.db", 64, IdType.INT64, disk, create=True)
    for turn in range(60):
        numbers = ids_of(range(turn * 300, turn * 300 + 300), IdType.INT64)
        store.write([Change(numbers, 1 + turn * 300, floats(turn, 300, 64))])
    assert (tmp_path / "items.db-wal").stat().st_size < 3 << 20
    assert (tmp_path / "items.db").stat().st_size > 3 << 20
    assert store.last_seq() == 18_000
    store.close()
