"""Messages in pieces, of which those that are large are copied once: into what travels.

The fields of a message are its serialized fields one after the other, in any order ("Encoding", the
documentation of protocol buffers), so pieces are put around columns that lie elsewhere. To set a
column in a message and to serialize that copies it three times more.
"""

from __future__ import annotations

from typing import TypeAlias

# Bytes, or memory of one byte an element that nobody writes to.
Piece: TypeAlias = bytes | memoryview
Pieces: TypeAlias = tuple[Piece, ...]

# Of a field that has a size: a message, bytes or text.
_SIZED = 2


def size_of(pieces: Pieces) -> int:
    """Count the bytes."""
    return sum(map(len, pieces))


def field(number: int, *pieces: Piece) -> Pieces:
    """Give the pieces of a field that is a message or bytes.

    Args:
        number: its number in the message that it is part of.
        pieces: what it holds.
    """
    return varint(number << 3 | _SIZED) + varint(size_of(pieces)), *pieces


def varint(value: int) -> bytes:
    """Write a number seven bits a byte, the lowest first."""
    if value < 128:
        return bytes((value,))
    return bytes((value & 127 | 128,)) + varint(value >> 7)
