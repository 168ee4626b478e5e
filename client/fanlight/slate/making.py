"""Making the lists of a search that has rules, or several interests: asking until it is certain.

What is known of a query's candidates is a set of views: each says that for one interest all
candidates down to some place are known, apart from such as rules forbid anyway. A place is given
away when nothing unknown can come before the candidates that are weighed for it. Otherwise more is
asked for, twice as many each time, and only such as can still be chosen. Laws: the outcome is that
of knowing all candidates, except where a limit ends the asking, which is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from fanlight.errors import DeadlineExceeded, FanlightError
from fanlight.filters import FieldType
from fanlight.hits import worse_coverage
from fanlight.ids import empty, joined, last_occurrences
from fanlight.limits import Limits
from fanlight.model import (
    NO_SCORE,
    CollectionSpec,
    Coverage,
    Floats,
    Hits,
    IdColumn,
    Rows,
    SearchRequest,
)
from fanlight.plans import Described, Fetch, Fetched, Late, Nearest, Plan, plain
from fanlight.queries import Interest, Slate
from fanlight.resolving import Resolved
from fanlight.slate.narrowing import Narrowing, narrowed, narrowing_of
from fanlight.slate.pool import Pool, values_of
from fanlight.slate.reading import Reading
from fanlight.slate.shortlist import Shortlist


@dataclass(frozen=True, slots=True)
class View:
    """What is known of one interest's candidates.

    Attributes:
        narrowing: which were asked for.
        depth: how many.
        last: the item of the last one known; None for none.
        whole: all of them are known.
    """

    narrowing: Narrowing
    depth: int
    last: int | None
    whole: bool


class Making:
    """One query's list in the making.

    Attributes:
        row: the query.
        vectors: the rows of its interests among all vectors.
        pool: its candidates.
        shortlist: its list.
        views: what is known, by interest.
        rounds: times that more was asked for.
        limited: a limit ended the asking.
        error: why the query failed.
    """

    def __init__(
        self, row: int, request: SearchRequest, resolved: Resolved, spec: CollectionSpec
    ) -> None:
        """Begin the list of one query."""
        slate = request.slate or Slate()
        self.row = row
        self.vectors: Rows = np.flatnonzero(resolved.queries == row)
        parts = resolved.parts
        of_row = [Interest()] if parts is None else [parts[v] for v in self.vectors.tolist()]
        self._weights = [interest.weight for interest in of_row]
        self._left_out: set[object] = set()
        if resolved.left_out:
            self.leave_out(resolved.left_out[row].tolist())
        self.pool = Pool(spec.id_type)
        self.shortlist = Shortlist(self.pool, slate, of_row, request.k)
        self.views: list[list[View]] = [[] for _ in of_row]
        self.rounds = 0
        self.limited = False
        self.error: FanlightError | None = resolved.errors.get(row)

    def ends(self, late: Late) -> bool:
        """Tell whether the list has failed, as it does when nobody waits for it any more."""
        if self.error is None and late():
            self.error = DeadlineExceeded("the deadline passed before the list was made")
        return self.error is not None

    def leave_out(self, ids: Iterable[object]) -> None:
        """Let no item of these be a candidate."""
        self._left_out.update(ids)

    def found(self, hits: Hits, row: int) -> tuple[IdColumn, Floats]:
        """Give the candidates in one row of hits: ids and scores."""
        ids, scores = hits.ids[row, : hits.counts[row]], hits.scores[row, : hits.counts[row]]
        if self._left_out:
            kept = [i for i, v in enumerate(ids.tolist()) if v not in self._left_out]
            ids, scores = ids[kept], scores[kept]
        return ids, scores

    def note(self, interest: int, hits: Hits, row: int, depth: int, narrowing: Narrowing) -> None:
        """Take one row of hits as candidates of an interest; their items are in the table.

        The pool is to be ranked when all are taken.
        """
        ids, scores = self.found(hits, row)
        self.pool.add(interest, ids, scores, values_of(scores, self._weights[interest]))
        last = self.pool.item(ids[-1]) if len(ids) else None
        whole = bool(hits.counts[row] < depth)
        self.views[interest].append(View(narrowing, depth, last, whole))


@dataclass(frozen=True, slots=True)
class Rules:
    """What all lists of a search share; `filterable` are the fields that shards can filter by."""

    request: SearchRequest
    resolved: Resolved
    spec: CollectionSpec
    filterable: Mapping[str, FieldType]
    limits: Limits
    late: Late

    @property
    def slate(self) -> Slate:
        """Give the rules."""
        return self.request.slate or Slate()

    @property
    def first_depth(self) -> int:
        """Tell how many candidates of each interest are likely to do."""
        slate, k = self.slate, self.request.k
        depth = k + max(map(len, self.resolved.left_out), default=0)
        if slate.mmr is not None:
            depth += slate.mmr.candidates
        if slate.caps or slate.near_duplicate is not None:
            depth += k
        return self.at_most(depth, len(self.resolved.vectors))

    def at_most(self, depth: int, rows: int) -> int:
        """Cut what is asked for to what may be."""
        return max(1, min(depth, self.limits.k, self.limits.hits // rows))

    def ask(self, rows: Rows, depth: int, narrowing: Narrowing) -> SearchRequest | None:
        """Make the search for the candidates of some vectors; None if there can be none."""
        request = plain(self.request, self.resolved.vectors[rows], depth)
        if narrowing == Narrowing():
            return request
        filter = narrowed(request.filter, narrowing, self.slate, self.filterable, self.limits)
        return None if filter is None else replace(request, filter=filter)


def slates(
    request: SearchRequest, resolved: Resolved, described: Described, limits: Limits, late: Late
) -> Plan[Hits]:
    """Make the list of each query; those that are not done when it is late fail.

    Returns:
        Hits of width k.
    """
    spec = described.spec
    rules = Rules(request, resolved, spec, described.built, limits, late)
    makings = [Making(row, request, resolved, spec) for row in range(resolved.queries[-1] + 1)]
    depth, none = rules.first_depth, Narrowing()
    hits: Hits = yield Nearest(plain(request, resolved.vectors, depth))
    taken = [
        (making, interest, row)
        for making in makings
        for interest, row in enumerate(making.vectors.tolist())
    ]
    coverage = yield from _take(rules, taken, hits, depth, none)
    for making in makings:
        while making.error is None and (wanted := _next(rules, making)) is not None:
            rows = making.vectors[list(wanted.interests)]
            search = rules.ask(rows, wanted.depth, wanted.narrowing)
            if search is None:
                making.limited = True
                continue
            more: Hits = yield Nearest(search)
            new = [(making, interest, row) for row, interest in enumerate(wanted.interests)]
            covered = yield from _take(rules, new, more, wanted.depth, wanted.narrowing)
            coverage = worse_coverage(coverage, covered)
    return _hits(makings, rules, coverage, hits.excluded)


def _take(
    rules: Rules,
    taken: Sequence[tuple[Making, int, int]],
    hits: Hits,
    depth: int,
    narrowing: Narrowing,
) -> Plan[Coverage]:
    """Put rows of hits into the pools, each of an interest of a list, after reading the items.

    Returns:
        What they cover: candidates that cannot be read are left out, since rules may forbid them.
    """
    lacking = yield from _learn(rules, taken, hits)
    for making, interest, row in taken:
        if row in hits.errors and making.vectors[interest] not in rules.resolved.absent:
            making.error = making.error or hits.errors[row]
        if making.error is None:
            making.note(interest, hits, row, depth, narrowing)
    for making in dict.fromkeys(making for making, _, _ in taken):
        making.pool.rank()
    return hits.coverage if lacking is None else worse_coverage(hits.coverage, lacking)


def _learn(
    rules: Rules, taken: Sequence[tuple[Making, int, int]], hits: Hits
) -> Plan[Coverage | None]:
    """Put the items of new candidates into the tables, with what the rules read of them.

    Returns:
        What is covered without those that could not be read; None if all could.
    """
    slate = rules.slate
    vectors = slate.mmr is not None or slate.near_duplicate is not None
    payloads = bool(slate.caps or slate.floors)
    new: list[tuple[Making, int]] = []
    columns: list[IdColumn] = []
    for making, _, row in taken:
        ids = making.pool.unknown(making.found(hits, row)[0])
        if len(ids) and not (vectors or payloads):
            making.pool.learn(ids, None)
        elif len(ids):
            new.append((making, row))
            columns.append(ids)
    if not new:
        return None
    ids = joined(columns)
    fetched: Fetched = yield Fetch(ids[last_occurrences(ids)[0]], vectors, payloads)
    reading = Reading(fetched.items, slate, rules.spec.filterable)
    for making, row in new:
        making.leave_out(fetched.failed)
        if not making.ends(rules.late):
            # two interests of a query may have found an item
            making.pool.learn(making.pool.unknown(making.found(hits, row)[0]), reading)
    return fetched.coverage


@dataclass(frozen=True, slots=True)
class Wanted:
    """More candidates that a list needs."""

    interests: tuple[int, ...]
    depth: int
    narrowing: Narrowing


def _next(rules: Rules, making: Making) -> Wanted | None:
    """Choose as long as it is certain what comes next.

    Returns:
        What has to be known before the next choice; None when the list is done.
    """
    shortlist = making.shortlist
    while not (shortlist.is_full or making.ends(rules.late)):
        eligible, states = shortlist.eligible(), _states(making)
        known = min((_known(making, i, s) for i, s in states.items()), default=math.inf)
        if making.limited:
            known = math.inf
        certain = eligible[eligible < known]
        if len(certain) < shortlist.window and known < math.inf:
            wanted = _wanted(rules, making, states, known)
            if wanted is not None:
                return wanted
            making.limited = True
        elif len(certain):
            shortlist.choose(certain)
        elif not (shortlist.helping and shortlist.give_up()):
            break
    return None


# Only items that help one of these floors matter; None for all items.
Mattering: TypeAlias = frozenset[int] | None


def _states(making: Making) -> dict[int, Mattering]:
    """Tell for each interest that may bring in the next hit which items matter."""
    shortlist, states = making.shortlist, dict[int, Mattering]()
    helping, shares = shortlist.helping, shortlist.open_shares
    floors = shortlist.open_floors
    for interest in range(len(making.views)):
        if not shortlist.has_room(interest):
            continue
        if not helping or interest in shares:
            states[interest] = None
        elif floors:
            states[interest] = floors
    return states


def _known(making: Making, interest: int, floors: Mattering) -> float:
    """Tell how many places of the pool no unknown candidate of an interest can come before."""
    known = 0.0
    for view in making.views[interest]:
        if view.narrowing.shows(floors):
            if view.whole:
                return math.inf
            if view.last is not None:
                known = max(known, making.pool.place(view.last, interest) + 1)
    return known


def _wanted(
    rules: Rules, making: Making, states: Mapping[int, Mattering], known: float
) -> Wanted | None:
    """Tell what to ask for to know more than the first places; None when a limit forbids it."""
    short = [i for i, floors in states.items() if _known(making, i, floors) == known]
    floors = states[short[0]]
    interests = tuple(i for i in short if states[i] == floors)
    narrowing = narrowing_of(making.shortlist, rules.slate, floors, rules.filterable)
    last = max(making.views[i][-1].depth for i in interests)
    depth = rules.at_most(2 * last, len(interests))
    asked = [
        any(view.narrowing == narrowing and view.depth >= depth for view in making.views[i])
        for i in interests
    ]
    making.rounds += 1
    if all(asked) or making.rounds > rules.limits.slate_rounds:
        return None
    return Wanted(interests, depth, narrowing)


def _hits(
    makings: Sequence[Making], rules: Rules, coverage: Coverage, excluded: int | None
) -> Hits:
    """Put the lists together."""
    n, k, id_type = len(makings), rules.request.k, rules.spec.id_type
    ids, scores = empty(id_type, (n, k)), np.full((n, k), NO_SCORE, dtype=np.float32)
    interests, counts = np.full((n, k), -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
    unmet: dict[int, tuple[str, ...]] = {}
    errors: dict[int, FanlightError] = {}
    for row, making in enumerate(makings):
        if making.error is not None:
            errors[row] = making.error
            continue
        places, pool = making.shortlist.ranked(), making.pool
        counts[row] = len(places)
        ids[row, : len(places)] = pool.ids[places]
        scores[row, : len(places)] = pool.scores[places]
        interests[row, : len(places)] = pool.interests[places]
        rules_unmet = making.shortlist.unmet(limited=making.limited)
        if rules_unmet:
            unmet[row] = rules_unmet
    tagged = any(query.makes_list for query in rules.request.composed or ())
    return Hits(
        ids,
        scores,
        counts,
        coverage,
        errors,
        excluded=excluded,
        interests=interests if tagged else None,
        unmet=unmet,
    )
