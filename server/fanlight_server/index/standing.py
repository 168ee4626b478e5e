"""How one item stands in a view for a query: its score, and how many items are better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fanlight.errors import DeadlineExceeded
from fanlight.filter_text import text_of
from fanlight.filters import AllOf, Filter
from fanlight.ids import joined, sort_keys
from fanlight.model import Floats, IdColumn, Outcome
from fanlight.plans import Standing
from fanlight.queries import Exclusions
from fanlight_server.index.bits import Bitmap, unpacked
from fanlight_server.index.query import Queries
from fanlight_server.index.segment import Segment
from fanlight_server.index.view import Part, View

# Rows compared between two looks at the deadline. To score as many of 768 dimensions took 24 ms.
_ROWS = 65_536


def standing_of(view: View, queries: Queries, id_: IdColumn, score: float | None) -> Standing:
    """Find an item and count what is better.

    Args:
        view: where.
        queries: one query, with its filter and exclusions.
        id_: (1,) the item.
        score: its score, when it is not in this view; else None.

    Raises:
        InvalidRequest, NotReady: see `View.check`.
        DeadlineExceeded: there was no time to compare all items.
    """
    view.check(queries.filter)
    found = [(part, int(row)) for part in view.parts for row in part.rows_of(id_) if row >= 0]
    segment, seq = "", 0
    outcomes: tuple[Outcome, ...] = ()
    if found:
        part, row = found[0]
        score = _score(part, row, queries)
        segment = part.source.name if isinstance(part.source, Segment) else ""
        seq = int(part.block.seqs[row])
        outcomes = _outcomes(part, row, queries.filter)
    if score is None:
        return Standing(exists=False)
    counts = [_better(part, queries, id_, score) for part in view.parts if part.live]
    return Standing(
        bool(found),
        score,
        sum(better for better, _ in counts),
        sum(allowed for _, allowed in counts),
        segment=segment,
        seq=seq,
        outcomes=outcomes,
    )


def _score(part: Part, row: int, queries: Queries) -> float:
    rows = np.array([[row]], dtype=np.int64)
    return float(part.block.scored.score(queries.vectors, rows)[0, 0])


def _outcomes(part: Part, row: int, filter: Filter | None) -> tuple[Outcome, ...]:
    """Tell which conditions of a filter, those that must all hold, a row satisfies."""
    if filter is None:
        return ()
    conditions = filter.filters if isinstance(filter, AllOf) else (filter,)
    rows = len(part.block)
    return tuple(
        Outcome(f"filter: {text_of(c)}", bool(unpacked(part.block.fields.allowed(c), rows)[row]))
        for c in conditions
    )


def _better(part: Part, queries: Queries, id_: IdColumn, score: float) -> tuple[int, int]:
    """Count the items that come before one with this id and score: all, and those allowed.

    Both are counted in one pass, some rows at a time: it takes as long as an exact search, and
    little memory however far behind the item is.
    """
    rows, allowed = np.flatnonzero(part.live_rows()), _allowed(part, queries)
    better = better_allowed = 0
    for start in range(0, len(rows), _ROWS):
        if queries.time_left() == 0:
            raise DeadlineExceeded("the deadline passed before all items were compared")
        some = rows[start : start + _ROWS]
        scores = part.block.scored.score(queries.vectors, some[np.newaxis])[0]
        before = some[_come_before(scores, part.block.ids[some], score, id_)]
        better += len(before)
        better_allowed += int(np.count_nonzero(allowed[before]))
    return better, better_allowed


def _allowed(part: Part, queries: Queries) -> Bitmap:
    """Tell which rows the filter and the exclusions leave: (rows,) bool; dead ones may be set."""
    bits = part.allowed(queries.filter, queries.excluded)
    n = len(part.block)
    return np.ones(n, dtype=np.bool_) if bits is None else unpacked(bits, n)


def _come_before(scores: Floats, ids: IdColumn, score: float, id_: IdColumn) -> Bitmap:
    """Tell which items come before one in a ranking: (n,) bool."""
    before: Bitmap = scores > np.float32(score)
    tied = np.flatnonzero(scores == np.float32(score))
    keys = sort_keys(joined([ids[tied], id_]))
    before[tied] = keys[:-1] < keys[-1]
    return before


def exclusion_outcomes(
    exclude: Exclusions | None, members: Callable[[str], IdColumn], id_: IdColumn
) -> list[Outcome]:
    """Tell which exclusions an item is among.

    Args:
        exclude: what is excluded; None for nothing.
        members: gives those of a set.
        id_: (1,) the item.
    """
    if exclude is None:
        return []
    ids = exclude.column()
    given = [] if ids is None else [("exclude_ids", ids)]
    given += [(f"set {name}", members(name)) for name in exclude.sets]
    return [Outcome(rule, not bool((column == id_[0]).any())) for rule, column in given]
