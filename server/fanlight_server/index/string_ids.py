"""Columns of string ids as bytes: what a segment file holds of them, and their order.

Strings are Python objects, so whatever touches them holds the interpreter; bytes in arrays are
sorted beside searches.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fanlight.ids import empty
from fanlight.model import IdColumn, IdType, Rows

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.uint64]

# Bytes that are compared at a time: those of one machine word.
_WORD = 8


def to_bytes(ids: IdColumn) -> tuple[Offsets, Bytes]:
    """Encode ids: id i is `data[offsets[i]:offsets[i + 1]]`, in UTF-8."""
    values = ids.tolist()
    text = "".join(values)
    # encoding one by one takes three times as long
    sizes = map(len, values) if text.isascii() else (len(value.encode()) for value in values)
    offsets = np.zeros(len(values) + 1, dtype="<u8")
    np.cumsum(np.fromiter(sizes, np.uint64, len(values)), out=offsets[1:])
    return offsets, np.frombuffer(text.encode(), dtype=np.uint8)


def from_bytes(offsets: Offsets, data: Bytes) -> IdColumn:
    """Decode ids."""
    whole, bounds = data.tobytes(), pairwise(offsets.tolist())
    ids = empty(IdType.STRING, len(offsets) - 1)
    if whole.isascii():
        text = whole.decode()
        ids[:] = [text[start:stop] for start, stop in bounds]
    else:
        ids[:] = [whole[start:stop].decode() for start, stop in bounds]
    return ids


def ranks(offsets: Offsets, data: Bytes) -> Rows:
    """Rank ids by code point, which is the order of their UTF-8 bytes.

    Word by word, as long as some ids are equal so far: one pass over ids of up to 8 bytes, and
    one more for each 8 that they have in common.

    Returns:
        (n,) int64 keys that sort as the ids do; equal ids have equal keys.
    """
    starts, ends = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    keys = np.zeros(len(starts), dtype=np.int64)
    tied = np.arange(len(starts))
    while len(tied):
        sizes = np.clip(ends[tied] - starts[tied], 0, _WORD)
        words = _words(data, starts[tied], sizes)
        # a shorter id comes before one that goes on with zeros
        order = np.lexsort((sizes, words, keys[tied]))
        first = np.ones(len(tied), dtype=np.bool_)
        columns = (sizes[order], words[order], keys[tied][order])
        first[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        place = np.flatnonzero(first)[np.cumsum(first) - 1]
        block = keys[tied][order]
        # keys of a group start where the group does, so they stay apart from all other groups
        begin = np.flatnonzero(np.concatenate(([True], block[1:] != block[:-1])))
        keys[tied[order]] = block + place - begin[np.searchsorted(begin, place, side="right") - 1]
        alone = first & np.append(first[1:], True)
        unfinished = order[~alone & (sizes[order] == _WORD)]
        tied = tied[np.sort(unfinished)]
        starts[tied] += _WORD
    return keys


def _words(data: Bytes, starts: Rows, sizes: Rows) -> NDArray[np.uint64]:
    """Read up to 8 bytes from each start as big-endian words, zeros behind their end."""
    words = np.zeros((len(starts), _WORD), dtype=np.uint8)
    for at in range(_WORD):
        there = sizes > at
        words[there, at] = data[starts[there] + at]
    return words.reshape(-1).view(">u8").astype(np.uint64)
