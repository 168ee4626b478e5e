"""Many int64 ids in few bytes: ascending, by their differences.

100,000 ids of a catalogue of a million take 100 to 200 KB so, not 800, and whoever only hands them
on need not look at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fanlight.errors import InvalidRequest

if TYPE_CHECKING:  # which imports this module
    from fanlight.model import IdColumn, Rows

# Of fewer ids nothing is saved.
_LEAST = 1_024
_WIDTHS = (1, 2, 4)
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class PackedIds:
    """Ids in ascending order.

    Attributes:
        first: the first one.
        width: bytes of a step: 1, 2 or 4.
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
        steps = np.diff(ids.view(np.uint64))
        largest = int(steps.max())
        width = next((width for width in _WIDTHS if largest >> (8 * width) == 0), None)
        if width is None:
            return None
        return PackedIds(int(ids[0]), width, steps.astype(f"<u{width}").tobytes())

    def __len__(self) -> int:
        """Count the ids."""
        return len(self.steps) // self.width + 1

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
        if self.first + (len(self) << (8 * self.width)) > _LAST:  # then look at the steps
            last = self.first + int(self._steps().sum(dtype=np.uint64))
            if last > _LAST:
                raise InvalidRequest.of_field(field, "ids that fit int64", str(last))

    def unpacked(self) -> Rows:
        """Give the ids: (n,) int64."""
        ids = np.empty(len(self), dtype=np.int64)
        ids[0] = self.first
        ids[1:] = self._steps()
        return np.cumsum(ids, out=ids)

    def _steps(self) -> np.ndarray[tuple[int], np.dtype[np.unsignedinteger]]:
        return np.frombuffer(self.steps, f"<u{self.width}")
