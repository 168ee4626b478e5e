"""Judges SQLite's write-ahead log before SQLite reads it.

SQLite takes the first frame that fails its checksum for the end of the log, and drops what follows
without a word. That is right for the transaction that was being written when the power failed, and
wrong for damage in the middle: then acknowledged writes would vanish. Two things tell the one from
the other. A transaction is synced before the next one is written, so a whole frame of a later one
shows that this one was synced. And the index of the log (`-shm`), which outlives a process that was
killed, says how many frames were there after the last sync.

Formats: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import Corruption

_HEADER = struct.Struct(">8I")
# In this one checksums are over little-endian words; one more: over big-endian words.
_MAGIC = 0x377F0682
_FRAME_BYTES = 24
# Frames whose checksums are computed at once.
_BATCH = 256
# Index: two copies of 48 bytes, then how many frames are in the database already.
_INDEX = struct.Struct("=40x2I")
_INDEX_BYTES, _BACKFILL_AT = 48, 96
_INT_PAIR = 2

Words = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class _Log:
    """Frames of a log: whether each follows from the checksum before it, is of this log, commits."""

    links: NDArray[np.bool_]
    current: NDArray[np.bool_]
    commits: NDArray[np.bool_]
    sound_header: bool
    salts: bytes


def check(database: Path) -> None:
    """Make sure that no acknowledged transaction is damaged in the log of a database.

    Nobody may have the database open. An unfinished transaction at the end is no damage.

    Raises:
        Corruption: one is.
    """
    path, index = (database.with_name(database.name + end) for end in ("-wal", "-shm"))
    promised, salts = _promised(index)
    data = path.read_bytes() if path.exists() else b""
    if len(data) < _HEADER.size:
        if promised:
            raise Corruption("its write-ahead log is gone or cut")
        return
    log = _read(data, database)
    whole = _whole(log)
    known = promised if salts == log.salts else 0
    if whole < known or _is_hole(log, whole):
        raise Corruption(f"its write-ahead log is damaged after frame {whole} of {len(log.links)}")


def _whole(log: _Log) -> int:
    """Count the frames up to the first that is not whole."""
    good = log.links & log.current & log.sound_header
    return len(good) if good.all() else int(np.argmin(good))


def _is_hole(log: _Log, whole: int) -> bool:
    """Tell whether frames that are not whole come before a later transaction."""
    later = log.links & log.current
    if not log.sound_header:
        return bool(log.links[1:].any())
    ended = np.zeros(len(later), dtype=np.bool_)
    ended[whole + 1 :] = (
        np.logical_or.accumulate(log.commits[whole:-1]) if whole < len(later) else 0
    )
    return bool((later & ended).any())


def _promised(index: Path) -> tuple[int, bytes]:
    """Tell how many frames the log had after its last sync, and its salts; 0 when nobody knows."""
    data = index.read_bytes()[: _BACKFILL_AT + 4] if index.exists() else b""
    header = data[:_INDEX_BYTES]
    if len(data) < _BACKFILL_AT + 4 or header != data[_INDEX_BYTES:_BACKFILL_AT]:
        return 0, b""
    words = np.frombuffer(header[:40], dtype=np.uint32)
    if tuple(_sums(words.reshape(1, -1))[0].tolist()) != _INDEX.unpack(header):
        return 0, b""
    frames, (done,) = int(words[4]), struct.unpack_from("=I", data, _BACKFILL_AT)
    return (frames if done < frames else 0), header[32:40]


def _read(data: bytes, database: Path) -> _Log:
    magic, _, page_bytes, _, _, _, *sums = _HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    head = np.frombuffer(data[:24], dtype=f"{order}u4").astype(np.uint32).reshape(1, -1)
    sound = magic & ~1 == _MAGIC and _sums(head)[0].tolist() == sums
    if not sound:
        page_bytes = _page_bytes(database)
    size = _FRAME_BYTES + page_bytes
    n = (len(data) - _HEADER.size) // size
    frames = np.frombuffer(data, np.uint8, n * size, _HEADER.size).reshape(n, size)
    heads = np.ascontiguousarray(frames[:, :_FRAME_BYTES]).view(">u4")
    stored = np.concatenate([np.array([sums]), heads[:, 4:6]]).astype(np.uint32)
    computed = _computed(frames, order, stored[:-1])
    salts = np.array(_HEADER.unpack_from(data)[4:6])
    return _Log(
        links=(computed == stored[1:]).all(axis=1),
        current=(heads[:, 2:4] == salts).all(axis=1) | (not sound),
        commits=heads[:, 1] != 0,
        sound_header=sound,
        salts=data[16:24],
    )


def _computed(frames: NDArray[np.uint8], order: str, before: Words) -> Words:
    """Compute the checksum of each frame from the one before it: (n, 2)."""
    parts = [np.empty((0, _INT_PAIR), np.uint32)]
    for start in range(0, len(frames), _BATCH):
        batch = frames[start : start + _BATCH]
        summed = np.concatenate([batch[:, :8], batch[:, _FRAME_BYTES:]], axis=1)
        words = summed.view(f"{order}u4").astype(np.uint32, copy=False)
        parts.append(_sums(words, before[start : start + _BATCH]))
    return np.concatenate(parts)


def _sums(words: Words, before: Words | None = None) -> Words:
    """Compute SQLite's checksum of each row of words: (n, 2).

    It is s0 += x + s1, s1 += y + s0 for each pair (x, y), modulo 2^32: linear in all of them, so it
    is a product with fixed weights.
    """
    of_x, of_y, power = _weights(words.shape[1] // 2)
    x, y = words[:, 0::2], words[:, 1::2]
    columns = [(x * of_x[k] + y * of_y[k]).sum(axis=1, dtype=np.uint32) for k in range(_INT_PAIR)]
    sums = np.stack(columns, axis=1)
    if before is None:
        return sums
    for k in range(_INT_PAIR):
        sums[:, k] += before[:, 0] * power[k][0] + before[:, 1] * power[k][1]
    return sums


@cache
def _weights(pairs: int) -> tuple[Words, Words, Words]:
    """Give what each x and y of that many pairs adds to s0 and s1, and what the start does."""
    of_x, of_y = (np.empty((_INT_PAIR, pairs), np.uint32) for _ in range(2))
    a, b, c, d = 1, 0, 0, 1  # the matrix [[1, 1], [1, 2]] to the power of 0, 1, ...
    for at in range(pairs - 1, -1, -1):
        of_x[:, at] = (a + b) & 0xFFFFFFFF, (c + d) & 0xFFFFFFFF
        of_y[:, at] = b, d
        a, b, c, d = (n & 0xFFFFFFFF for n in (a + b, a + 2 * b, c + d, c + 2 * d))
    return of_x, of_y, np.array([[a, b], [c, d]], np.uint32)


def _page_bytes(database: Path) -> int:
    with database.open("rb") as file:
        (size,) = struct.unpack(">H", file.read(18)[16:].rjust(2, b"\0"))
    return 65_536 if size <= 1 else int(size)
