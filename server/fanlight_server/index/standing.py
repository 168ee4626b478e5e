"""How one item stands in a view for a query: its score, and how many items are better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fanlight.filter_text import text_of
from fanlight.filters import AllOf, Filter
from fanlight.ids import joined, sort_keys
from fanlight.model import IdColumn, Outcome
from fanlight.plans import Standing
from fanlight.queries import Exclusions
from fanlight_server.index.bits import packed, unpacked
from fanlight_server.index.query import Queries, scan
from fanlight_server.index.segment import Segment
from fanlight_server.index.view import Part, View

# Hits looked at for the place of an item at first; eight times as many each time after.
_DEPTH = 1_024


def standing_of(view: View, queries: Queries, id_: IdColumn, score: float | None) -> Standing:
    """Find an item and count what is better.

    Args:
        view: where.
        queries: one query, with its filter and exclusions.
        id_: (1,) the item.
        score: its score, when it is not in this view; else None.

    Raises:
        InvalidRequest, NotReady: see `View.check`.
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
    everything = replace(queries, filter=None, excluded=None)
    return Standing(
        bool(found),
        score,
        _better(view, everything, id_, score),
        _better(view, queries, id_, score),
        segment=segment,
        seq=seq,
        outcomes=outcomes,
    )


def _score(part: Part, row: int, queries: Queries) -> float:
    only = np.zeros(len(part.block), dtype=np.bool_)
    only[row] = True
    answer = scan(queries, part.block, 1, packed(only), codes=False)
    return float(answer.hits.scores[0, 0])


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


def _better(view: View, queries: Queries, id_: IdColumn, score: float) -> int:
    """Count the items that come before one with this id and score."""
    n, depth = view.count(queries.filter, queries.excluded), _DEPTH
    while n:
        hits = view.search(replace(queries, k=min(depth, n), ef=None)).hits
        count = int(hits.counts[0])
        scores, ids = hits.scores[0, :count], hits.ids[0, :count]
        keys = sort_keys(joined([ids, id_]))
        before = (scores > score) | ((scores == np.float32(score)) & (keys[:-1] < keys[-1]))
        if count >= n or (count and not before[-1]):
            return int(np.count_nonzero(before))
        depth *= 8
    return 0


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
    given = [] if exclude.ids is None else [("exclude_ids", exclude.ids)]
    given += [(f"set {name}", members(name)) for name in exclude.sets]
    return [Outcome(rule, not bool((ids == id_[0]).any())) for rule, ids in given]
