"""Many int64 ids in few bytes: ascending, by their differences.

100,000 ids of a catalogue of a million take 100 to 200 KB so, not 800, and whoever only hands them
on need not look at them. A step has a lower part of 1, 2 or 4 bytes and, where that saves bytes, a
byte above it: random steps differ by about four bits, so a few of them need one byte more than most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest

if TYPE_CHECKING:  # which imports this module
    from fanlight.model import IdColumn, Rows

# Of fewer ids nothing is saved.
_LEAST = 1_024
_WIDTHS = (1, 2, 4)
# Bytes of the lower part of a step, and whether there is a byte above it; fewest bytes first.
_SHAPES = ((1, False), (2, False), (1, True), (2, True), (4, False), (4, True))
# In the place of a higher part that does not fit a byte.
_WIDE = 255
# One of so many steps may be wide: it takes eight bytes more.
_WIDE_SHARE = 64
_LAST = 2**63 - 1

_Steps: TypeAlias = "NDArray[np.unsignedinteger]"


@dataclass(frozen=True, slots=True)
class PackedIds:
    """Ids in ascending order.

    Attributes:
        first: the first one.
        width: bytes of the lower part of a step: 1, 2 or 4.
        steps: from each id to the next, the lower parts; little-endian and unsigned.
        high: the higher parts, a byte each; 255 for one that is wide. Empty where all are 0.
        wide: the higher parts that are, in order; eight bytes each, little-endian and unsigned.
    """

    first: int
    width: int
    steps: bytes
    high: bytes = b""
    wide: bytes = b""

    @staticmethod
    def of(ids: IdColumn) -> PackedIds | None:
        """Pack a column; None where it is as good as it is: few, far apart, in no order, or str."""
        if ids.dtype == object or len(ids) < _LEAST:
            return None
        # Two's complement: a difference past int64 is right as an unsigned one.
        unsigned: _Steps = ids.view(np.uint64)
        steps = unsigned[1:] - unsigned[:-1]
        largest = int(steps.max())
        if largest < 2**32:  # half of the memory
            steps = steps.astype(np.uint32)
        shape = _shape_of(steps, largest)
        if shape is None:
            return None
        width, has_high = shape
        high, wide = _above(steps, 8 * width) if has_high else (b"", b"")
        return PackedIds(int(ids[0]), width, steps.astype(f"<u{width}").tobytes(), high, wide)

    def __len__(self) -> int:
        """Count the ids."""
        return len(self.steps) // self.width + 1

    @property
    def nbytes(self) -> int:
        """Count the bytes that they take."""
        return len(self.steps) + len(self.high) + len(self.wide)

    def check(self, field: str, most: int) -> None:
        """Refuse what cannot be unpacked, or not without a lot of memory.

        Raises:
            InvalidRequest: names the field.
        """
        if self.width not in _WIDTHS:
            raise InvalidRequest.of_field(field, "steps of 1, 2 or 4 bytes", str(self.width))
        if len(self.steps) % self.width:
            got = f"{len(self.steps)} bytes"
            raise InvalidRequest.of_field(field, f"{self.width} bytes a step", got)
        if len(self) > most:
            raise InvalidRequest.of_field(field, f"at most {most}", str(len(self)))
        self._check_high(field)
        if self._last_at_most() > _LAST and (last := self._last()) > _LAST:
            raise InvalidRequest.of_field(field, "ids that fit int64", str(last))

    def _check_high(self, field: str) -> None:
        if not (self.high or self.wide):
            return
        n, high = len(self) - 1, len(self.high)
        if high not in (0, n):
            raise InvalidRequest.of_field(field, f"{n} bytes above the steps, or none", str(high))
        n_wide = np.count_nonzero(np.frombuffer(self.high, np.uint8) == _WIDE)
        if len(self.wide) != 8 * n_wide:
            expected, got = f"8 bytes for {n_wide} wide steps", f"{len(self.wide)} bytes"
            raise InvalidRequest.of_field(field, expected, got)

    def _last_at_most(self) -> int:
        """Bound the last id, which is less work than to add up."""
        widest = len(self) << (8 * (self.width + bool(self.high)))
        return self.first + widest + (self._sum_of_wide() << 8 * self.width)

    def _last(self) -> int:
        low, high, wide = self.parts()
        above = 0 if high is None else int(high.sum(dtype=np.uint64)) - _WIDE * len(wide)
        above += self._sum_of_wide()
        return self.first + int(low.sum(dtype=np.uint64)) + (above << 8 * self.width)

    def _sum_of_wide(self) -> int:
        """Add up what may be anything: in halves, which do not overflow."""
        halves = np.frombuffer(self.wide, "<u4")
        low, high = (int(half.sum(dtype=np.uint64)) for half in (halves[::2], halves[1::2]))
        return low + (high << 32)

    def parts(self) -> Parts:
        """Give the steps as columns, which lie where they lay in the message."""
        return Parts(
            np.frombuffer(self.steps, f"<u{self.width}"),
            np.frombuffer(self.high, np.uint8) if self.high else None,
            np.frombuffer(self.wide, "<u8"),
        )

    def unpacked(self) -> Rows:
        """Give the ids: (n,) int64."""
        low, high, wide = self.parts()
        ids = np.empty(len(self), dtype=np.int64)
        ids[0] = self.first
        if high is None:
            ids[1:] = low
        else:
            above = high.astype(np.uint64)
            above[high == _WIDE] = wide
            above <<= np.uint64(8 * self.width)
            ids.view(np.uint64)[1:] = above + low
        return np.cumsum(ids, out=ids)


class Parts(NamedTuple):
    """The steps of packed ids, in columns.

    Attributes:
        low: the lower parts.
        high: the higher parts, or 255; None where all are 0.
        wide: those in the places of which there is 255.
    """

    low: _Steps
    high: NDArray[np.uint8] | None
    wide: NDArray[np.uint64]


def _shape_of(steps: _Steps, largest: int) -> tuple[int, bool] | None:
    """Choose the shape that takes the fewest bytes; None where ids of eight are as good."""
    for width, has_high in _SHAPES:
        if not has_high:
            if largest >> 8 * width == 0:
                return width, False
            continue
        n_wide = np.count_nonzero(steps >= (_WIDE << 8 * width))
        if n_wide * _WIDE_SHARE <= len(steps):
            return width, True
    return None


def _above(steps: _Steps, bits: int) -> tuple[bytes, bytes]:
    """Give what is above the lower bits a byte each, and what does not fit one."""
    high = steps >> steps.dtype.type(bits)
    wide = np.flatnonzero(high >= _WIDE)
    bytes_of_high = high.astype(np.uint8)
    bytes_of_high[wide] = _WIDE
    return bytes_of_high.tobytes(), high[wide].astype("<u8").tobytes()
