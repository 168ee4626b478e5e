"""Sets of ids in items.db: members, each until some time; see docs/format.md.

Laws: changes are part of the transaction that `Store.write` commits. Every member read is compared
with its checksum. A set without members leaves at most its name.
"""

from __future__ import annotations

import sqlite3
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from isal.isal_zlib import crc32

from fanlight.errors import Corruption
from fanlight.ids import empty
from fanlight.model import IdColumn, IdType, Rows
from fanlight_server.storage import marks

# Made by the first change of a set: a database without sets is as it was before there were any.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS sets (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS members (set_key INTEGER NOT NULL, id {id_type} NOT NULL,"
    " expires_ms INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (set_key, id)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS members_by_expiry ON members (expires_ms) WHERE expires_ms > 0",
)
# What a write of sets takes away of members whose time is over, of any set: more than most writes
# add, so that they never pile up, and little beside a sync.
_SWEPT = 1_000
_HEAD = struct.Struct("<qq")
_INT64 = struct.Struct("<q")

Kind = Literal["append", "remove", "expire", "delete"]


@dataclass(frozen=True, slots=True)
class SetChange:
    """A change of one set.

    Attributes:
        name: of the set.
        kind: "append" or "remove" ids; "expire" or "delete" all members.
        ids: (n,) ids, ascending, each once; None where all members are meant.
        expires_ms: when the members leave, in milliseconds since 1970; 0 for never.
        now_ms: when the change was made.
    """

    name: str
    kind: Kind
    ids: IdColumn | None
    expires_ms: int
    now_ms: int


def apply(db: sqlite3.Connection, change: SetChange, id_type: IdType) -> None:
    """Make a change, and take some members away whose time is over; in a transaction."""
    if not _has_tables(db):
        _create(db, id_type)
    key = _key(db, change.name, create=change.kind == "append")
    if key is not None:
        _APPLY[change.kind](db, key, change)
    db.execute(
        "DELETE FROM members WHERE (set_key, id) IN (SELECT set_key, id FROM members"
        " WHERE expires_ms > 0 AND expires_ms <= ? LIMIT ?)",
        (change.now_ms, _SWEPT),
    )


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'members'").fetchone() is not None


def _create(db: sqlite3.Connection, id_type: IdType) -> None:
    """Make the tables, and say in the mark of the structure that they belong; in a transaction."""
    for statement in _SCHEMA:
        db.execute(statement.format(id_type="TEXT" if id_type is IdType.STRING else "INTEGER"))
    marks.write(db, marks.structure_of(db))


def damaged(db: sqlite3.Connection) -> int:
    """Count the members that fail their checksum."""
    if not _has_tables(db):
        return 0
    rows = db.execute("SELECT set_key, id, expires_ms, crc FROM members")
    return sum(not _is_sound(*row) for row in rows)


def copy(source: sqlite3.Connection, target: sqlite3.Connection, id_type: IdType) -> None:
    """Copy the sound members that can be read to another database; in a transaction of it."""
    if not _has_tables(source):
        return
    _create(target, id_type)
    try:
        for name in source.execute("SELECT key, name FROM sets"):
            target.execute("INSERT OR IGNORE INTO sets VALUES (?, ?)", name)
        for row in source.execute("SELECT set_key, id, expires_ms, crc FROM members"):
            if _is_sound(*row):
                target.execute("INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?)", row)
    except sqlite3.DatabaseError:
        return  # what could be read is there


def _key(db: sqlite3.Connection, name: str, *, create: bool) -> int | None:
    if create:
        db.execute("INSERT OR IGNORE INTO sets (name) VALUES (?)", (name,))
    row = db.execute("SELECT key FROM sets WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def _append(db: sqlite3.Connection, key: int, change: SetChange) -> None:
    assert change.ids is not None
    _put(db, key, change.ids.tolist(), change.expires_ms)


def _put(db: sqlite3.Connection, key: int, ids: list[Any], expires_ms: int) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)",
        ((key, value, expires_ms, _crc(key, value, expires_ms)) for value in ids),
    )


def _remove(db: sqlite3.Connection, key: int, change: SetChange) -> None:
    assert change.ids is not None
    pairs = ((key, value) for value in change.ids.tolist())
    db.executemany("DELETE FROM members WHERE set_key = ? AND id = ?", pairs)


def _expire(db: sqlite3.Connection, key: int, change: SetChange) -> None:
    live = "SELECT id FROM members WHERE set_key = ? AND (expires_ms = 0 OR expires_ms > ?)"
    ids = [row[0] for row in db.execute(live, (key, change.now_ms))]
    _put(db, key, ids, change.expires_ms)


def _delete(db: sqlite3.Connection, key: int, change: SetChange) -> None:
    db.execute("DELETE FROM members WHERE set_key = ?", (key,))
    db.execute("DELETE FROM sets WHERE key = ?", (key,))


_APPLY = {"append": _append, "remove": _remove, "expire": _expire, "delete": _delete}


def read(db: sqlite3.Connection, name: str, id_type: IdType) -> tuple[IdColumn, Rows]:
    """Read the members of a set, those whose time is over included.

    Returns:
        (n,) ids, ascending, and (n,) int64, when each leaves in milliseconds; 0 for never.

    Raises:
        Corruption: a member fails its checksum.
    """
    query = (
        "SELECT set_key, id, expires_ms, m.crc FROM members m JOIN sets s ON s.key = m.set_key"
        " WHERE s.name = ? ORDER BY id"
    )
    rows = db.execute(query, (name,)).fetchall() if _has_tables(db) else []
    for key, value, expires_ms, crc in rows:
        if not _is_sound(key, value, expires_ms, crc):
            raise Corruption("items.db: a member of a set fails its checksum")
    ids = empty(id_type, len(rows))
    ids[:] = [row[1] for row in rows]
    return ids, np.array([row[2] for row in rows], dtype=np.int64)


def _is_sound(key: Any, value: Any, expires_ms: Any, crc: Any) -> bool:
    try:
        return bool(_crc(key, value, expires_ms) == crc)
    except (TypeError, AttributeError, struct.error):
        return False  # SQLite keeps a type with each value, and that can be damaged too


def _crc(key: int, value: int | str, expires_ms: int) -> int:
    head = crc32(_HEAD.pack(key, expires_ms))
    return crc32(value.encode() if isinstance(value, str) else _INT64.pack(value), head)
