"""What a search sees: an immutable list of parts.

Laws: nothing reachable from a view changes after it is published (a head only grows past the
rows that the view shows). An id is live in at most one part of a view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

import fanlight_kernel as kernel
from fanlight.filter_rules import check_built, check_filter_fields, check_filterable_field
from fanlight.filters import FieldType, Filter, Value, clauses_of
from fanlight.ids import empty, joined
from fanlight.joined_ids import JoinedIds
from fanlight.model import IdColumn, IdType, Rows
from fanlight.packed_ids import PackedIds
from fanlight.topk import merge
from fanlight_server.index.bits import Bitmap, Bits, count, packed, unpacked
from fanlight_server.index.block import Block, id_table
from fanlight_server.index.excluded import Excluded
from fanlight_server.index.facets import counted
from fanlight_server.index.head import Head
from fanlight_server.index.query import Answer, Queries, nothing, scan, search_parts, walk
from fanlight_server.index.segment import Segment


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of a head or a segment, as far as they are visible, and which of them live.

    Attributes:
        source: where the rows are; a `Head` has no graph.
        block: the visible rows.
        alive: packed bitmap of the rows that are not dead; None when none is.
        n_dead: how many are.
    """

    source: Head | Segment
    block: Block
    alive: Bits | None = None
    n_dead: int = 0

    @cached_property
    def live(self) -> int:
        """Count the live rows."""
        return len(self.block) - self.n_dead

    @property
    def indexed(self) -> bool:
        """Tell whether a graph holds the rows."""
        return isinstance(self.source, Segment)

    def live_rows(self) -> Bitmap:
        """Tell for each row whether it lives: (rows,) bool, the caller's own."""
        rows = len(self.block)
        return np.ones(rows, np.bool_) if self.alive is None else unpacked(self.alive, rows)

    def rows_of(self, ids: IdColumn) -> Rows:
        """Look up the live rows of ids: (n,) int64, -1 where there is none."""
        source = self.source
        lookup = source.lookup if isinstance(source, Segment) else source
        rows = lookup.rows_of(ids)
        return np.where((rows >= 0) & self._are_live(rows), rows, -1)

    def rows_without(self, ids: Rows | PackedIds | JoinedIds) -> Bits:
        """Tell which rows do not have one of these ids, of their own type: packed bits."""
        # a head becomes more rows, and few
        source = self.source
        table = source.id_table if isinstance(source, Segment) else id_table(self.block)
        if isinstance(table, kernel.StringIdTable):
            return table.rows_without(cast(JoinedIds, ids).data)
        if isinstance(ids, PackedIds):
            return table.rows_without_steps(ids.first, ids.column())
        # what came off the wire lies where it lay in its message
        return table.rows_without(np.require(ids, np.int64, ["C", "A"]))

    def _are_live(self, rows: Rows) -> Bitmap:
        """Tell of some rows whether they live."""
        if self.alive is None:
            return np.ones(len(rows), dtype=np.bool_)
        live: Bitmap = (self.alive[rows >> 3] >> (rows & 7) & 1) != 0
        return live

    def held(self, ids: IdColumn) -> Rows:
        """List the live rows with one of these ids; any thread may ask."""
        if isinstance(self.source, Segment):
            rows = self.rows_of(ids)
            return rows[rows >= 0]
        # the head's own lookup may already know of rows that this view does not show
        return np.flatnonzero(np.isin(self.block.ids, ids) & self.live_rows())

    def between(self, after: Any, upto: Any) -> Rows:
        """List the live rows with ids in (after, upto], None for no bound; any thread may ask."""
        if isinstance(self.source, Segment):
            rows = self.source.lookup.between(after, upto)
            return rows[self._are_live(rows)]
        live, ids = self.live_rows(), self.block.ids
        if after is not None:
            live &= ids > after
        if upto is not None:
            live &= ids <= upto
        return np.flatnonzero(live)

    def without(self, rows: Rows) -> Part:
        """Mark live rows as dead, in a copy."""
        live = self.live_rows()
        live[rows] = False
        dead = len(live) - int(np.count_nonzero(live))
        return replace(self, alive=packed(live), n_dead=dead)

    def grown(self, block: Block) -> Part:
        """Show more rows of the same source, all of them live."""
        if self.alive is None:
            return replace(self, block=block)
        live = np.ones(len(block), dtype=np.bool_)
        live[: len(self.block)] = self.live_rows()
        return replace(self, block=block, alive=packed(live))

    def search(self, queries: Queries) -> Answer:
        """Find the k best live rows that satisfy the filter, or all of them if they are fewer.

        Returns:
            Hits at most k wide.
        """
        allowed = self.allowed(queries.filter, queries.excluded)
        chosen = queries.filter is not None or queries.excluded is not None
        n = self.live if not chosen or allowed is None else count(allowed)
        k, source = min(queries.k, n), self.source
        if not n:
            return nothing(queries, self.block)
        if queries.ef is None:
            return scan(queries, self.block, k, allowed, codes=False)
        if isinstance(source, Segment) and k < n:
            return walk(queries, source.graph, self.block, k, allowed, queries.ef)
        return scan(queries, self.block, k, allowed, codes=True)

    def allowed(self, filter: Filter | None, excluded: Excluded | None = None) -> Bits | None:
        """Tell which rows may be returned; None: all of them.

        Args:
            filter: only rows that satisfy it; None for all.
            excluded: and are not among these; None for all.
        """
        bits = self.alive
        if filter is not None:
            satisfying = self.block.fields.allowed(filter)
            bits = satisfying if bits is None else satisfying & bits
        kept = None if excluded is None else excluded.kept(self)
        if kept is None:
            return bits
        return kept if bits is None else kept & bits

    def count(self, filter: Filter | None, excluded: Excluded | None = None) -> int:
        """Count the live rows that satisfy a filter and are not excluded."""
        bits = self.allowed(filter, excluded)
        return len(self.block) if bits is None else count(bits)

    @property
    def searched(self) -> kernel.Rows | kernel.Graph:
        """Give what is searched to the kernel."""
        return self.source.graph if isinstance(self.source, Segment) else self.block.scored


@dataclass(frozen=True, eq=False)
class View:
    """All parts: segments, then sealed heads, then the head that takes new rows.

    Attributes:
        parts: at least the head.
        id_type: type of the ids.
        seq: every change up to this one is in the view.
        filterable: the declared fields. Columns of others may be there still.
        fields_version: of their declaration.
        ef_search: declared with them; None for the server's default.
    """

    parts: tuple[Part, ...]
    id_type: IdType
    seq: int
    filterable: Mapping[str, FieldType] = field(default_factory=dict)
    fields_version: int = 0
    ef_search: int | None = None

    @cached_property
    def live(self) -> int:
        """Count the live items."""
        return sum(part.live for part in self.parts)

    @cached_property
    def building(self) -> frozenset[str]:
        """Name the declared fields that are not known of all live items yet."""
        fields = (part.block.fields for part in self._inhabited)
        return frozenset(name for each in fields for name in each.lacking(self.filterable))

    def check(self, filter: Filter | None) -> None:
        """Refuse a filter on fields that are not declared, of another type, or not built yet.

        Raises:
            InvalidRequest, NotReady: names the field.
        """
        if filter is not None:
            check_filter_fields(filter, self.filterable)
            if self.building:
                check_built((clause.field for clause in clauses_of(filter)), self.building)

    @cached_property
    def _inhabited(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.live)

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

    def search(self, queries: Queries) -> Answer:
        """Find the k best hits in all parts.

        Returns:
            Hits k wide; a query that a part had no time for is not answered.

        Raises:
            InvalidRequest, NotReady: see `check`; so do all that take a filter.
        """
        self.check(queries.filter)
        if self.id_type is IdType.INT64 and self._inhabited:
            allowed = self._allowed(queries.filter, queries.excluded)
            return search_parts(queries, self._searched, allowed)
        return self._merged(queries)

    @cached_property
    def _searched(self) -> kernel.Parts:
        return kernel.Parts([part.searched for part in self._inhabited])

    def _allowed(
        self, filter: Filter | None, excluded: Excluded | None
    ) -> list[Bits | None] | None:
        """Tell which rows of each part may be returned; None: all of them."""
        if filter is None and excluded is None:
            if all(part.alive is None for part in self._inhabited):
                return None
            return [part.alive for part in self._inhabited]
        return [part.allowed(filter, excluded) for part in self._inhabited]

    def count(self, filter: Filter | None, excluded: Excluded | None = None) -> int:
        """Count the live items that satisfy a filter and are not excluded."""
        self.check(filter)
        return sum(part.count(filter, excluded) for part in self._inhabited)

    def _merged(self, queries: Queries) -> Answer:
        """Search part by part: the order of string ids is known within each one only."""
        n = len(queries)
        answers = [part.search(queries) for part in self._inhabited] if n else []
        blocks = [answer.hits for answer in answers]
        if all(answer.whole for answer in answers):
            return Answer(merge(blocks, queries.k, self.id_type, n), True)
        late = np.logical_or.reduce([hits.counts < 0 for hits in blocks])
        counted = [replace(hits, counts=np.maximum(hits.counts, 0)) for hits in blocks]
        merged = merge(counted, queries.k, self.id_type, n)
        merged.counts[late] = -1
        return Answer(merged, False)

    def facet(self, name: str, filter: Filter | None) -> Counter[Value]:
        """Count the live items that satisfy a filter by the values of a field."""
        self.check(filter)
        check_filterable_field(name, self.filterable)
        check_built((name,), self.building)
        counts: Counter[Value] = Counter()
        for part in self._inhabited:
            bits = part.allowed(filter)
            rows = part.live_rows() if bits is None else unpacked(bits, len(part.block))
            counts.update(counted(part.block.fields.columns[name], rows))
        return counts

    def matching(self, filter: Filter) -> tuple[IdColumn, Rows]:
        """List the live items that satisfy a filter: their ids, and the seqs of their rows."""
        self.check(filter)
        ids, seqs = [empty(self.id_type)], [np.empty(0, dtype=np.int64)]
        for part in self._inhabited:
            bits = part.allowed(filter)
            assert bits is not None
            rows = np.flatnonzero(unpacked(bits, len(part.block)))
            ids.append(part.block.ids[rows])
            seqs.append(part.block.seqs[rows])
        return joined(ids), np.concatenate(seqs)

    def seqs_of(self, ids: IdColumn) -> dict[Any, int]:
        """Tell the seqs of the live items among the ids."""
        return self._seqs([part.held(ids) for part in self.parts])

    def seqs_between(self, after: Any, upto: Any) -> dict[Any, int]:
        """Tell the seqs of the live items with ids in (after, upto], None for no bound."""
        return self._seqs([part.between(after, upto) for part in self.parts])

    def _seqs(self, rows: list[Rows]) -> dict[Any, int]:
        seqs: dict[Any, int] = {}
        for part, chosen in zip(self.parts, rows, strict=True):
            block = part.block
            ids = block.ids[chosen].tolist()
            seqs.update(zip(ids, block.seqs[chosen].tolist(), strict=True))
        return seqs

    def without(self, ids: IdColumn) -> tuple[View, int]:
        """Mark the items with these ids as dead; also tell how many there were."""
        parts, killed = [], 0
        for part in self.parts:
            rows = part.rows_of(ids)
            rows = rows[rows >= 0]
            killed += len(rows)
            parts.append(part.without(rows) if len(rows) else part)
        return replace(self, parts=tuple(parts)), killed
