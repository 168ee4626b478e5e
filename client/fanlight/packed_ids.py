"""Many int64 ids in few bytes: ascending, by their differences.

100,000 ids of a catalogue of a million take 100 to 200 KB so, not 800, and whoever only hands them
on need not look at them. Ids that lie farther apart stay as they are: to sort them takes longer than
to send eight bytes each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest

if TYPE_CHECKING:  # which imports this module
    from fanlight.model import IdColumn, Rows

# Of fewer ids nothing is saved.
_LEAST = 1_024
# Bytes of a step.
_WIDTHS = (1, 2)
# How far apart ids are on the average where steps of two bytes are likely to do: of 100,000 random
# ones the largest is about 12 times the average.
_APART = 1 << 12
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class PackedIds:
    """Ids in ascending order.

    Attributes:
        first: the first one.
        width: bytes of a step: 1 or 2.
        steps: from each id to the next, little-endian and unsigned.
    """

    first: int
    width: int
    steps: bytes

    @staticmethod
    def of(ids: IdColumn) -> PackedIds | None:
        """Pack a column; None where it is as good as it is: few, far apart, in no order, or str."""
        if ids.dtype == object or len(ids) < _LEAST:
            return None
        # Two's complement: a difference past int64 is right as an unsigned one.
        unsigned = ids.view(np.uint64)
        steps = unsigned[1:] - unsigned[:-1]
        largest = int(steps.max())
        for width in _WIDTHS:
            if largest >> 8 * width == 0:
                return PackedIds(int(ids[0]), width, steps.astype(f"<u{width}").tobytes())
        return None

    def __len__(self) -> int:
        """Count the ids."""
        return len(self.steps) // self.width + 1

    @property
    def nbytes(self) -> int:
        """Count the bytes that they take."""
        return len(self.steps)

    def check(self, field: str, most: int) -> None:
        """Refuse what cannot be unpacked, or not without a lot of memory.

        Raises:
            InvalidRequest: names the field.
        """
        if self.width not in _WIDTHS:
            raise InvalidRequest.of_field(field, "steps of 1 or 2 bytes", str(self.width))
        if len(self.steps) % self.width:
            got = f"{len(self.steps)} bytes"
            raise InvalidRequest.of_field(field, f"{self.width} bytes a step", got)
        if len(self) > most:
            raise InvalidRequest.of_field(field, f"at most {most}", str(len(self)))
        widest = len(self) << 8 * self.width
        if self.first + widest > _LAST and (last := self._last()) > _LAST:
            raise InvalidRequest.of_field(field, "ids that fit int64", str(last))

    def _last(self) -> int:
        return self.first + int(self.column().sum(dtype=np.uint64))

    def column(self) -> NDArray[np.unsignedinteger]:
        """Give the steps as a column, which lies where it lay in the message."""
        return np.frombuffer(self.steps, f"<u{self.width}")

    def unpacked(self) -> Rows:
        """Give the ids: (n,) int64."""
        ids = np.empty(len(self), dtype=np.int64)
        ids[0] = self.first
        ids[1:] = self.column()
        return np.cumsum(ids, out=ids)


def lie_close(ids: IdColumn) -> bool:
    """Tell whether ids, which are in any order, are worth putting in order to be packed."""
    if ids.dtype == object or len(ids) < _LEAST:
        return False
    return int(ids.max()) - int(ids.min()) < _APART * len(ids)
