"""What a search sees: an immutable list of parts.

Laws: nothing reachable from a view changes after it is published (a head only grows past the
rows that the view shows). An id is live in at most one part of a view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fanlight.model import IdColumn, IdType, Rows
from fanlight.topk import TopK, merge
from fanlight_server.index.block import Bitmap, Block
from fanlight_server.index.head import Head
from fanlight_server.index.scoring import Queries, scan
from fanlight_server.index.segment import Segment


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The rows of a head or a segment, as far as they are visible, and which of them are dead.

    Attributes:
        source: where the rows are; a `Head` has no graph.
        block: the visible rows.
        dead: (rows,) bool, the tombstones; None for none.
        n_dead: how many.
    """

    source: Head | Segment
    block: Block
    dead: Bitmap | None = None
    n_dead: int = 0

    @property
    def live(self) -> int:
        """Count the live rows."""
        return len(self.block) - self.n_dead

    @property
    def indexed(self) -> bool:
        """Tell whether a graph holds the rows."""
        return isinstance(self.source, Segment)

    def rows_of(self, ids: IdColumn) -> Rows:
        """Look up the live rows of ids: (n,) int64, -1 where there is none."""
        source = self.source
        lookup = source.lookup if isinstance(source, Segment) else source
        rows = lookup.rows_of(ids)
        if self.dead is not None:
            rows = np.where((rows >= 0) & self.dead[rows], -1, rows)
        return rows

    def without(self, rows: Rows) -> Part:
        """Mark live rows as dead, in a copy."""
        dead = np.zeros(len(self.block), dtype=np.bool_) if self.dead is None else self.dead.copy()
        dead[rows] = True
        return replace(self, dead=dead, n_dead=int(np.count_nonzero(dead)))

    def grown(self, block: Block) -> Part:
        """Show more rows of the same source, all of them live."""
        if self.dead is None:
            return replace(self, block=block)
        added = np.zeros(len(block) - len(self.block), dtype=np.bool_)
        return replace(self, block=block, dead=np.concatenate((self.dead, added)))

    def dead_rows(self) -> Bitmap:
        """Tell for each row whether it is dead."""
        return np.zeros(len(self.block), dtype=np.bool_) if self.dead is None else self.dead

    def search(self, queries: Queries, k: int, ef: int | None, threads: int) -> TopK:
        """Find the k best live rows; all rows are compared when there is no graph or no ef."""
        if ef is None or not isinstance(self.source, Segment):
            return scan(queries, self.block, k, self.dead)
        return self.source.search(queries, k, ef, self.dead, threads)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All parts: segments, then sealed heads, then the head that takes new rows.

    Attributes:
        parts: at least the head.
        id_type: type of the ids.
        seq: every change up to this one is in the view.
    """

    parts: tuple[Part, ...]
    id_type: IdType
    seq: int

    @property
    def live(self) -> int:
        """Count the live items."""
        return sum(part.live for part in self.parts)

    @property
    def unindexed(self) -> int:
        """Count the live items that no graph holds."""
        return sum(part.live for part in self.parts if not part.indexed)

    @property
    def segments(self) -> tuple[Part, ...]:
        """List the parts that have a graph."""
        return tuple(part for part in self.parts if part.indexed)

    @property
    def sealed(self) -> tuple[Part, ...]:
        """List the heads that wait for a graph."""
        return tuple(part for part in self.parts[:-1] if not part.indexed)

    def search(self, queries: Queries, k: int, ef: int | None, threads: int) -> TopK:
        """Merge the k best hits of all parts; an `ef` of None compares every item."""
        parts = [part for part in self.parts if part.live and len(queries)]
        blocks = [part.search(queries, k, ef, threads) for part in parts]
        return merge(blocks, k, self.id_type, len(queries))

    def without(self, ids: IdColumn) -> tuple[View, int]:
        """Mark the items with these ids as dead; also tell how many there were."""
        parts, killed = [], 0
        for part in self.parts:
            rows = part.rows_of(ids)
            rows = rows[rows >= 0]
            killed += len(rows)
            parts.append(part.without(rows) if len(rows) else part)
        return replace(self, parts=tuple(parts)), killed
