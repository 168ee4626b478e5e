"""Which shard owns an id.

An id hashes to one of 16,384 slots (the number that Redis Cluster uses for the same end),
and every shard owns one run of slots. The hash is part of the data: items were placed by
it, so it must never change.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanlight.model import IdColumn, Rows

SLOT_BITS = 14
SLOTS = 1 << SLOT_BITS


def slots_of(ids: IdColumn) -> Rows:
    """Hash ids to slots.

    int64 ids pass through the finalizer of splitmix64 (Steele, Lea and Flood, "Fast splittable
    pseudorandom number generators", 2014), strings through CRC-32 of their UTF-8 first.

    Returns:
        (n,) int64 in [0, 16384).
    """
    if ids.dtype == object:
        crcs = (zlib.crc32(value.encode("utf-8", "surrogateescape")) for value in ids)
        keys = np.fromiter(crcs, dtype=np.uint64, count=len(ids))
    else:
        keys = ids.astype(np.int64, copy=False).view(np.uint64)
    slots = _mix(keys)
    slots &= np.uint64(SLOTS - 1)
    return slots.view(np.int64)


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # In two buffers: new ones for each step took four times as long for 100,000 ids.
    z = keys + np.uint64(0x9E3779B97F4A7C15)
    shifted = z >> np.uint64(30)
    z ^= shifted
    z *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(z, np.uint64(27), out=shifted)
    z ^= shifted
    z *= np.uint64(0x94D049BB133111EB)
    np.right_shift(z, np.uint64(31), out=shifted)
    z ^= shifted
    return z


@dataclass(frozen=True, slots=True)
class ShardIdentity:
    """Which part of which cluster a shard is.

    Attributes:
        cluster: name of the cluster.
        index: 0-based place of the shard in the map.
        count: shards in the map.
    """

    cluster: str
    index: int
    count: int

    @property
    def name(self) -> str:
        """Name the shard as people see it."""
        return shard_name(self.index)


def shard_name(index: int) -> str:
    """Name a shard as errors and coverage do."""
    return f"shard-{index}"


def shards_of(ids: IdColumn, count: int) -> Rows:
    """Place ids on `count` shards, each of which owns an equal run of slots.

    Returns:
        (n,) int64 shard indexes.
    """
    shards = slots_of(ids)
    shards *= count
    shards >>= SLOT_BITS
    return shards
