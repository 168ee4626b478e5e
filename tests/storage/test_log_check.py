"""Damage in SQLite's write-ahead log: acknowledged transactions do not vanish without a word."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fanlight.errors import Corruption
from fanlight_server.storage import log_check

FRAME = 24 + 4096


class Killed:
    """A database as a kill leaves it, with 20 transactions in its log."""

    def __init__(self, home: Path, copy: Path) -> None:
        self.path = copy / "a.db"
        home.mkdir()
        copy.mkdir()
        with closing(sqlite3.connect(home / "a.db", isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE t (a, b)")
            for n in range(20):
                db.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 3_000))
            for file in home.iterdir():
                shutil.copy(file, copy)
        self.log, self.index = (copy / f"a.db-{end}" for end in ("wal", "shm"))
        self.data, self.index_data = self.log.read_bytes(), self.index.read_bytes()

    def refused(self, data: bytes, *, index: bool = True) -> bool:
        self.log.write_bytes(data)
        self.index.unlink(missing_ok=True)
        if index:
            self.index.write_bytes(self.index_data)
        try:
            log_check.check(self.path)
        except Corruption:
            return True
        return False

    def rows(self) -> int:
        with closing(sqlite3.connect(self.path)) as db:
            return int(db.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.fixture
def killed(tmp_path: Path) -> Killed:
    """Give such a database."""
    return Killed(tmp_path / "home", tmp_path / "copy")


def flipped(data: bytes, at: int, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


def test_sqlite_itself_drops_what_follows(killed: Killed) -> None:
    """Without the check a flipped bit in the middle costs acknowledged rows: it is needed."""
    killed.log.write_bytes(flipped(killed.data, len(killed.data) // 2, 3))
    assert killed.rows() < 20


def test_a_sound_log_passes(killed: Killed) -> None:
    """With and without its index, and every row is there."""
    assert not killed.refused(killed.data, index=False)
    assert not killed.refused(killed.data)
    assert killed.rows() == 20


def test_every_flipped_bit_is_found_while_the_index_is_there(killed: Killed) -> None:
    """In the header, in frames, to the last byte."""
    choice = random.Random(7)
    places = [*range(32), *choice.sample(range(len(killed.data)), 300), len(killed.data) - 1]
    for at in places:
        assert killed.refused(flipped(killed.data, at, at % 8)), at


def test_damage_before_a_later_transaction_is_found_without_the_index(killed: Killed) -> None:
    """A loss of power may cost the index, but not what was synced."""
    choice = random.Random(8)
    for at in [*range(32), *choice.sample(range(len(killed.data) - 6 * FRAME), 200)]:
        assert killed.refused(flipped(killed.data, at, at % 8), index=False), at


@pytest.mark.parametrize("cut", [1, 24, 100, FRAME, FRAME + 1])
def test_an_unfinished_end_is_no_damage(killed: Killed, cut: int) -> None:
    """What a loss of power leaves of the last transaction is dropped, as it should be."""
    assert not killed.refused(killed.data[:-cut], index=False)
    torn = killed.data[:-cut] + bytes(cut)
    assert not killed.refused(torn, index=False)
    assert killed.rows() == 19


@pytest.mark.parametrize("size", [0, 10, 32, 32 + FRAME, 32 + 5 * FRAME + 7])
def test_a_cut_log_is_found(killed: Killed, size: int) -> None:
    """The index knows how long it was; also when it is gone."""
    assert killed.refused(killed.data[:size])
    killed.log.unlink()
    with pytest.raises(Corruption, match="gone or cut"):
        log_check.check(killed.path)


def test_frames_of_an_earlier_log_are_no_damage(tmp_path: Path) -> None:
    """After a checkpoint the log starts anew over the old one, whose frames still follow."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (a, b)")
        for n in range(20):
            db.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 3_000))
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        log_check.check(path)
        db.execute("INSERT INTO t VALUES (99, 'y')")
        log_check.check(path)
        (tmp_path / "a.db-shm").rename(tmp_path / "gone")
        log_check.check(path)
        (tmp_path / "gone").rename(tmp_path / "a.db-shm")
