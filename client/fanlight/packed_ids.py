"""Many int64 ids in few bytes: ascending, by their differences.

100,000 ids of a catalogue of a million take 100 to 200 KB so, not 800, and whoever only hands them
on need not look at them. A step has a lower part of 1, 2 or 4 bytes and, where it takes 3 or 5, a byte
above it: random steps differ by about four bits, so a few of them need one byte more than most.
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
# Bytes of the lower part of a step, by those of all of it; where it has more there is one above.
_LOWER = {1: 1, 2: 2, 3: 2, 4: 4, 5: 4}
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
        width: bytes of a step: 1 to 5.
        steps: from each id to the next, the lower 1, 2 or 4 bytes; little-endian and unsigned.
        high: the bytes above them, for a width of 3 or 5; 255 for one that is wide.
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
        if _are_far_apart(unsigned):
            return None
        steps = unsigned[1:] - unsigned[:-1]
        largest = int(steps.max())
        if largest < 2**32:  # half of the memory
            steps = steps.astype(np.uint32)
        width = _width_of(steps, largest)
        if width is None:
            return None
        lower = _LOWER[width]
        high, wide = _above(steps, largest, lower) if width > lower else (b"", b"")
        return PackedIds(int(ids[0]), width, _bytes_of(steps, 0, lower), high, wide)

    def __len__(self) -> int:
        """Count the ids."""
        return len(self.steps) // _LOWER[self.width] + 1

    @property
    def nbytes(self) -> int:
        """Count the bytes that they take."""
        return len(self.steps) + len(self.high) + len(self.wide)

    def check(self, field: str, most: int) -> None:
        """Refuse what cannot be unpacked, or not without a lot of memory.

        Raises:
            InvalidRequest: names the field.
        """
        if self.width not in _LOWER:
            raise InvalidRequest.of_field(field, "steps of 1 to 5 bytes", str(self.width))
        if len(self.steps) % _LOWER[self.width]:
            got = f"{len(self.steps)} bytes"
            raise InvalidRequest.of_field(field, f"{_LOWER[self.width]} bytes a step", got)
        if len(self) > most:
            raise InvalidRequest.of_field(field, f"at most {most}", str(len(self)))
        self._check_high(field)
        if self._last_at_most() > _LAST and (last := self._last()) > _LAST:
            raise InvalidRequest.of_field(field, "ids that fit int64", str(last))

    def _check_high(self, field: str) -> None:
        n = len(self) - 1 if self.width > _LOWER[self.width] else 0
        if len(self.high) != n:
            expected, got = f"{n} bytes above the steps", f"{len(self.high)} bytes"
            raise InvalidRequest.of_field(field, expected, got)
        n_wide = self._count_wide()
        if len(self.wide) != 8 * n_wide:
            expected, got = f"8 bytes for {n_wide} wide steps", f"{len(self.wide)} bytes"
            raise InvalidRequest.of_field(field, expected, got)

    def _count_wide(self) -> int:
        """Count the steps that are wide: mostly none, which is told in an eighth of the time."""
        if _WIDE not in self.high:
            return 0
        return int(np.count_nonzero(np.frombuffer(self.high, np.uint8) == _WIDE))

    def _last_at_most(self) -> int:
        """Bound the last id, which is less work than to add up."""
        widest = len(self) << 8 * self.width
        return self.first + widest + (self._sum_of_wide() << 8 * _LOWER[self.width])

    def _last(self) -> int:
        low, high, wide = self.parts()
        above = 0 if high is None else int(high.sum(dtype=np.uint64)) - _WIDE * len(wide)
        above += self._sum_of_wide()
        return self.first + int(low.sum(dtype=np.uint64)) + (above << 8 * _LOWER[self.width])

    def _sum_of_wide(self) -> int:
        """Add up what may be anything: in halves, which do not overflow."""
        if not self.wide:
            return 0
        halves = np.frombuffer(self.wide, "<u4")
        low, high = (int(half.sum(dtype=np.uint64)) for half in (halves[::2], halves[1::2]))
        return low + (high << 32)

    def parts(self) -> Parts:
        """Give the steps as columns, which lie where they lay in the message."""
        return Parts(
            np.frombuffer(self.steps, f"<u{_LOWER[self.width]}"),
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
            above <<= np.uint64(8 * _LOWER[self.width])
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


def _are_far_apart(ids: _Steps) -> bool:
    """Tell whether a sixteenth of them has more steps that are wide than all may have."""
    first = ids[: len(ids) // 16]
    steps = first[1:] - first[:-1]
    wide = int(np.count_nonzero(steps >= _WIDE << 8 * max(_LOWER.values())))
    return wide > len(ids) // _WIDE_SHARE


def _width_of(steps: _Steps, largest: int) -> int | None:
    """Choose the fewest bytes a step; None where ids of eight are as good."""
    for width, lower in _LOWER.items():
        if width == lower:
            if largest >> 8 * width == 0:
                return width
        elif largest < _WIDE << 8 * lower or _few_are_wide(steps, lower):
            return width
    return None


def _few_are_wide(steps: _Steps, lower: int) -> bool:
    wide = int(np.count_nonzero(steps >= (_WIDE << 8 * lower)))
    return wide * _WIDE_SHARE <= len(steps)


def _bytes_of(steps: _Steps, first: int, count: int) -> bytes:
    """Give some bytes of each step, as they lie there: arithmetic makes arrays that nobody keeps."""
    little = steps.astype(f"<u{steps.itemsize}", copy=False)
    return little.view(f"<u{count}")[first // count :: steps.itemsize // count].tobytes()


def _above(steps: _Steps, largest: int, lower: int) -> tuple[bytes, bytes]:
    """Give what is above the lower bytes a byte each, and what does not fit one."""
    if largest < _WIDE << 8 * lower:
        return _bytes_of(steps, lower, 1), b""
    high = steps >> steps.dtype.type(8 * lower)
    wide = np.flatnonzero(high >= _WIDE)
    bytes_of_high = high.astype(np.uint8)
    bytes_of_high[wide] = _WIDE
    return bytes_of_high.tobytes(), high[wide].astype("<u8").tobytes()
