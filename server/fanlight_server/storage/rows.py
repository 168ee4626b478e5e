"""The checksum of a row of `items`. On disk, do not change; see docs/format.md."""

from __future__ import annotations

import struct
from typing import Any

from isal.isal_zlib import crc32

# id, seq, deleted, crc, vector, payload
Row = tuple[Any, int, int, int, bytes | None, bytes | None]

_HEAD = struct.Struct("<qB")
_INT64_HEAD = struct.Struct("<qBq")


def crc_of(
    id_: Any, seq: int, deleted: int, vector: bytes | memoryview | None, payload: bytes | None
) -> int:
    """Compute the checksum of a row."""
    if isinstance(id_, str):
        crc = crc32(id_.encode(), crc32(_HEAD.pack(seq, deleted)))
    else:
        crc = crc32(_INT64_HEAD.pack(seq, deleted, id_))
    if vector:
        crc = crc32(vector, crc)
    return crc32(payload, crc) if payload else crc


def is_sound(row: Row, vector_bytes: int) -> bool:
    """Compare a row of `items` with its checksum."""
    id_, seq, deleted, crc, vector, payload = row
    try:
        sound = crc == crc_of(id_, seq, deleted, vector, payload)
    except (TypeError, AttributeError, OverflowError, ValueError, struct.error):
        return False  # SQLite keeps a type with each value, and that can be damaged too
    return sound and len(vector or b"") == (0 if deleted else vector_bytes)
