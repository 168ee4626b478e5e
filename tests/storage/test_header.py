"""The header of a database: every byte that can be judged is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import floats

from fanlight.errors import Corruption
from fanlight.model import IdType
from fanlight_server.storage import header
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Change

# What SQLite itself compares with the rest: format, page size, pages, free pages, its schema's
# version and ours. The number of the SQLite that wrote last is anybody's guess.
ELSEWHERE = {16, 17, *range(28, 44), *range(60, 64), *range(96, 100)}


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Each bit of each byte that nothing else is compared with."""
    path = tmp_path / "items.db"
    with closing(Store(path, 2, IdType.INT64, create=True)) as store:
        store.write([Change(np.arange(3), 1, floats(1, 3, 2))])
    sound = path.read_bytes()
    header.check(path)
    for at in set(range(100)) - ELSEWHERE:
        for bit in range(8):
            data = bytearray(sound)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(Corruption, match="header"):
                header.check(path)


def test_sound_headers_pass(tmp_path: Path) -> None:
    """None, empty, new with all in the log, written, without a log."""
    path = tmp_path / "a.db"
    header.check(path)
    path.write_bytes(b"")
    header.check(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        header.check(path)
        db.execute("CREATE TABLE t (a)")
        header.check(path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        header.check(path)
        db.execute("INSERT INTO t VALUES (1)")
        db.execute("PRAGMA journal_mode = DELETE")
        header.check(path)
    header.check(path)
