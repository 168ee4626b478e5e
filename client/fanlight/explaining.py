"""Why an item is, or is not, in the answer to a search: the same plan for a shard and a router."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fanlight.answering import answer, resolved_of
from fanlight.errors import InvalidRequest
from fanlight.hits import first
from fanlight.ids import joined
from fanlight.limits import Limits
from fanlight.model import Coverage, Explanation, Hits, IdColumn, Items, Outcome, SearchRequest
from fanlight.plans import Fetch, Fetched, Late, Plan, Stand, Standing, never, plain
from fanlight.queries import Slate
from fanlight.slate.pool import values_of
from fanlight.slate.reading import listed, units_of
from fanlight.stacking import size_of

_NO_COVERAGE = Coverage(1, 1, None, 0)


def explain(
    request: SearchRequest, id_: IdColumn, limits: Limits, late: Late = never
) -> Plan[Explanation]:
    """Explain one item.

    Args:
        request: a search with one query.
        id_: (1,) the item.
        limits: of whoever answers.
        late: see `answer`.

    Raises:
        InvalidRequest: there are several queries, or as `answer` says.
        FanlightError: an item that decides whether a rule is kept cannot be read.
    """
    if size_of(request) != 1:
        raise InvalidRequest.of_field("queries", "1 query", str(size_of(request)))
    hits: Hits = first((yield from answer(request, limits, late)), request.width)
    for error in hits.errors.values():
        raise error
    resolved, _ = yield from resolved_of(request)
    best, best_value, interest = Standing(exists=False), -math.inf, 0
    for row in range(len(resolved.vectors)):
        if row in resolved.absent:
            continue
        asked = plain(request, resolved.vectors[row : row + 1], request.k)
        standing: Standing = yield Stand(asked, id_)
        weight = 1.0 if resolved.parts is None else resolved.parts[row].weight
        value = _value(standing, weight)
        if standing.exists and value > best_value:
            best, best_value, interest = standing, value, row
        elif not best.exists:
            best = standing
    outcomes = list(best.outcomes)
    if resolved.left_out and len(resolved.left_out[0]):
        outcomes.append(Outcome("example", not bool(np.isin(id_, resolved.left_out[0])[0])))
    place = _place(hits, id_)
    if request.slate is not None and best.exists and place is None:
        outcomes += yield from _rules(request.slate, hits, id_)
    best = replace(best, outcomes=tuple(outcomes))
    n = int(hits.counts[0])
    return replace(
        explained(best),
        place=place,
        interest=interest,
        last_score=float(hits.scores[0, n - 1]) if n else None,
        coverage=hits.coverage,
    )


def _value(standing: Standing, weight: float) -> float:
    return float(values_of(np.array([standing.score], dtype=np.float32), weight)[0])


def _place(hits: Hits, id_: IdColumn) -> int | None:
    real = hits.ids[0, : hits.counts[0]].tolist()
    return real.index(id_[0]) if id_[0] in real else None


def explained(standing: Standing) -> Explanation:
    """Tell how an item stands, without a search."""
    return Explanation(
        exists=standing.exists,
        score=standing.score,
        rank=standing.better + 1,
        rank_allowed=standing.better_allowed + 1,
        place=None,
        last_score=None,
        interest=0,
        shard=standing.shard,
        segment=standing.segment,
        seq=standing.seq,
        outcomes=standing.outcomes,
        coverage=_NO_COVERAGE,
    )


def _rules(slate: Slate, hits: Hits, id_: IdColumn) -> Plan[list[Outcome]]:
    """Tell which rules keep an item out of a list that is made."""
    real = hits.ids[0, : hits.counts[0]]
    ids = joined([real, id_])
    compares = slate.near_duplicate is not None
    fetched: Fetched = yield Fetch(ids, vectors=compares, payloads=bool(slate.caps))
    for error in fetched.failed.values():
        raise error
    row_of = {value: row for row, value in enumerate(fetched.items.ids.tolist())}
    rows = [row_of[value] for value in real.tolist() if value in row_of]
    own = row_of.get(id_[0])
    if own is None:
        return []
    outcomes = [
        _cap_outcome(slate, cap, fetched.items, own, rows) for cap in range(len(slate.caps))
    ]
    if slate.near_duplicate is not None and fetched.items.vectors is not None:
        units = units_of(fetched.items.vectors)
        cosines = (units[rows] @ units[own]).astype(np.float32)
        novel = not bool((cosines > np.float32(slate.near_duplicate)).any())
        outcomes.append(Outcome(f"near_duplicate: {slate.near_duplicate:.4g}", novel))
    return outcomes


def _cap_outcome(slate: Slate, cap: int, items: Items, own: int, rows: list[int]) -> Outcome:
    rule, payloads = slate.caps[cap], items.payloads or []
    counts: dict[object, int] = {}
    for row in rows:
        for value in listed((payloads[row] or {}).get(rule.field)):
            counts[value] = counts.get(value, 0) + 1
    own_values = listed((payloads[own] or {}).get(rule.field))
    fits = all(counts.get(value, 0) < rule.most for value in own_values)
    return Outcome(f"cap {rule.field}: {rule.most}", fits)
