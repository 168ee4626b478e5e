"""Freed memory that a router keeps, since the next message takes as much again.

glibc gives the free end of its heap back to the system where it is twice as large as the largest
block that was ever mapped apart and freed; see mallopt(3), M_MMAP_THRESHOLD. A router that hands
500 KB of excluded ids to each of three shards gave back and took again 3 MB with each search, or
did not, from start to start: as it happened what lay at the end of its heap. The 700 page faults
took it 1.7 to 3 ms, and all else 5 to 6.5.
"""

from __future__ import annotations

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# What glibc comes to by itself when the first block of 32 MiB has been freed, so no process keeps
# more than it might have.
_MAPPED_APART_BYTES = 32 << 20
_KEPT_BYTES = 2 * _MAPPED_APART_BYTES
_CHOSEN_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Keep the free end of the heap, up to 64 MiB.

    Returns:
        Whether it will be: not where the environment says how much, nor where the C library has no
        such setting.
    """
    if any(name in os.environ for name in _CHOSEN_BY_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    set_apart = mallopt(_M_MMAP_THRESHOLD, _MAPPED_APART_BYTES)
    return bool(set_apart and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
