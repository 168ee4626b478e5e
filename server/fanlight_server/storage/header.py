"""Judges the header of a SQLite database: 100 bytes, of which SQLite reads about half.

Format: https://www.sqlite.org/fileformat2.html#the_database_header
"""

from __future__ import annotations

from pathlib import Path

from fanlight.errors import Corruption

_SIZE = 100
# By offset, what may stand there in a database of ours.
_FIXED: dict[int, tuple[bytes, ...]] = {
    0: (b"SQLite format 3\0",),
    18: (b"\2\2", b"\1\1"),  # with a write-ahead log, or about to get one
    20: (b"\0\x40\x20\x20",),
    44: (b"\0\0\0\4", bytes(4)),  # schema format; none while the schema is in the log alone
    48: (bytes(8),),  # cache size, largest root
    56: (b"\0\0\0\1", bytes(4)),  # UTF-8; none as above
    64: (bytes(28),),  # vacuum mode, application, room to grow
}
# The counter of changes stands twice.
_COUNTER, _COUNTER_AGAIN = slice(24, 28), slice(92, 96)
_SCHEMA, _ENCODING = slice(44, 48), slice(56, 60)


def check(database: Path) -> None:
    """Compare a database's header with what it can be. An empty file, or none, has no header.

    Raises:
        Corruption: it is none of ours.
    """
    if not database.exists():
        return
    with database.open("rb") as file:
        data = file.read(_SIZE)
    if not data:
        return
    good = all(
        any(data[at : at + len(value)] == value for value in values)
        for at, values in _FIXED.items()
    )
    good &= data[_COUNTER] == data[_COUNTER_AGAIN]
    good &= any(data[_SCHEMA]) == any(data[_ENCODING])
    if len(data) < _SIZE or not good:
        raise Corruption("its header is damaged")
