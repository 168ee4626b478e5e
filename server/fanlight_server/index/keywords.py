"""Keywords as bytes: a table of strings that is mapped, sorted and searched without decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanlight.model import Rows
from fanlight_server.index.string_ids import Bytes, Offsets, ranks, to_bytes


@dataclass(frozen=True, slots=True)
class Keywords:
    """n strings.

    Attributes:
        offsets: (n + 1,) uint64: string i is `data[offsets[i]:offsets[i + 1]]`.
        data: (bytes,) uint8, UTF-8.
    """

    offsets: Offsets
    data: Bytes

    @classmethod
    def of(cls, values: Sequence[str]) -> Keywords:
        """Encode strings."""
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return cls(*to_bytes(column))

    def __len__(self) -> int:
        """Count the strings."""
        return len(self.offsets) - 1

    def code_of(self, value: str) -> int | None:
        """Find a string in a sorted table; None if it is not there."""
        wanted = value.encode()
        at = bisect_left(range(len(self)), wanted, key=self._bytes_at)
        return at if at < len(self) and self._bytes_at(at) == wanted else None

    def value_at(self, at: int) -> str:
        """Decode one string."""
        return self._bytes_at(at).decode()

    def _bytes_at(self, at: int) -> bytes:
        return self.data[int(self.offsets[at]) : int(self.offsets[at + 1])].tobytes()

    def take(self, places: Rows) -> Keywords:
        """Copy some strings, in the order given."""
        ends = self.offsets.astype(np.int64)
        starts = ends[places]
        sizes = ends[places + 1] - starts
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        # byte j of the copy is in a string that starts at s there and at o here: s + (j - o)
        source = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
        return Keywords(offsets.astype("<u8"), self.data[source])

    def ranks(self) -> Rows:
        """Give (n,) int64 that sort as the strings do, by code point; equal for equal strings."""
        return ranks(self.offsets, self.data)


def joined(tables: Sequence[Keywords]) -> Keywords:
    """Put tables one after the other."""
    ends = np.cumsum([0, *(len(table.data) for table in tables)]).astype(np.uint64)
    offsets = [table.offsets[:-1] + end for table, end in zip(tables, ends[:-1], strict=True)]
    data = [np.empty(0, np.uint8), *(table.data for table in tables)]
    return Keywords(np.concatenate([*offsets, ends[-1:]]).astype("<u8"), np.concatenate(data))
