"""How a shard keeps its disk. Safe to change on restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """What must stay free, and how much may wait in the log.

    Writes are refused while less is free than the larger of `free_bytes_min` and `free_share_min`;
    searches never are.

    Attributes:
        free_bytes_min: bytes. Enough for what has been accepted and not been written yet (128 MiB at the
            most), the copy of a log into its database, and a segment of 100,000 x 768 as it is built.
        free_share_min: share of the disk. File systems slow down and scatter files when they are
            nearly full.
        free_margin: how much more than that, as a share of it, must be free before writes are taken
            again, so that they do not stop and go with every file that comes and goes.
        wal_bytes: bytes of a collection's write-ahead log past which it is copied into the database. That
            costs two syncs; with 32 MiB they vanish beside those of the writes.
    """

    free_bytes_min: Annotated[int, Interval(ge=0, le=1 << 50)] = 512 * MIB
    free_share_min: Annotated[float, Interval(ge=0, lt=1)] = 0.01
    free_margin: Annotated[float, Interval(ge=0, le=10)] = 0.25
    wal_bytes: Annotated[int, Interval(ge=1 << 16, le=1 << 40)] = 32 * MIB
