"""Packed bitmaps of rows: what the kernel is told about which rows it may return.

(n + 7) // 8 bytes for n rows: bit r % 8 of byte r // 8 is that of row r. Bits behind the last row
are 0.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bits: TypeAlias = NDArray[np.uint8]
Bitmap: TypeAlias = NDArray[np.bool_]


def packed(bitmap: Bitmap) -> Bits:
    """Pack a bitmap, (n,) bool."""
    return np.packbits(bitmap, bitorder="little")


def unpacked(bits: Bits, n: int) -> Bitmap:
    """Unpack the bits of n rows; the result is the caller's own."""
    return np.unpackbits(bits, count=n, bitorder="little").view(np.bool_)


def complement(bits: Bits, n: int) -> Bits:
    """Turn the bits of n rows over."""
    contrary: Bits = ~bits
    if n % 8:
        contrary[-1] &= (1 << n % 8) - 1
    return contrary


def count(bits: Bits) -> int:
    """Count the rows whose bits are set."""
    return int.from_bytes(bits.tobytes(), "little").bit_count()
