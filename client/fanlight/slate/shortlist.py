"""The list of one query while it is made, place by place: the rules themselves.

Laws: caps, shares and near-duplicates are never broken; what is chosen stays chosen. Which
candidates are known, and how others become known, is `fanlight.slate.making`'s matter.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fanlight.model import Rows
from fanlight.queries import Interest, Slate
from fanlight.slate.pool import Bools, Pool
from fanlight.slate.reading import Counted, Doubles

# Candidates looked at together: most places are given to one of the first that are left, and numpy
# takes no longer for so many than for one.
_STRIDE = 64
_NO_ROWS: Rows = np.empty(0, dtype=np.int64)


class Shortlist:
    """See the module.

    Attributes:
        chosen: items and interests, in the order of choice.
        open_floors: the floors that need more hits.
        open_shares: the interests that need more hits.
        full: caps and their values that have reached them; it only grows.
        helping: whether only candidates that help an open floor may be chosen now.
    """

    def __init__(self, pool: Pool, slate: Slate, interests: Sequence[Interest], k: int) -> None:
        """Begin an empty list of k places."""
        self._pool = pool
        self._slate = slate
        self._k = k
        self.chosen: list[tuple[int, int]] = []
        self._needs = [_needed(floor.share, floor.count, k) for floor in slate.floors]
        self._have = [0] * len(slate.floors)
        self._given_up: set[int] = set()
        self._least = [math.ceil(i.min_share * k - 1e-6) for i in interests]
        self._most = [math.floor(i.max_share * k + 1e-6) for i in interests]
        self._found = [0] * len(interests)
        self._shares_given_up: set[int] = set()
        self._room: Bools = np.array([most > 0 for most in self._most], dtype=np.bool_)
        self._counts: Counter[tuple[int, Counted]] = Counter()
        self.full: set[tuple[int, Counted]] = set()
        # of each item of the table, as far as they are known to the list
        self._allowed: Bools = np.empty(0, dtype=np.bool_)
        self._likeness: Doubles = np.empty(0, dtype=np.float64)
        # no candidate before this place can be chosen any more, in a pool of so many
        self._begin, self._ranked = 0, 0
        self._extend()
        self._settle()

    # --- what is open -------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Tell whether all places are taken."""
        return len(self.chosen) >= self._k

    @property
    def window(self) -> int:
        """Tell how many candidates are weighed for a place."""
        return 1 if self._slate.mmr is None else self._slate.mmr.candidates

    def _settle(self) -> None:
        """Work out what is open, after a choice or when floors are given up."""
        floors = enumerate(zip(self._needs, self._have, strict=True))
        shares = enumerate(zip(self._least, self._found, strict=True))
        missing = {f: need - have for f, (need, have) in floors if f not in self._given_up}
        lacking = {i: n - found for i, (n, found) in shares if i not in self._shares_given_up}
        self.open_floors = frozenset(f for f, n in missing.items() if n > 0)
        self.open_shares = frozenset(i for i, n in lacking.items() if n > 0)
        needed = sum(missing[f] for f in self.open_floors)
        needed += sum(lacking[i] for i in self.open_shares)
        self.helping = 0 < self._k - len(self.chosen) <= needed

    def has_room(self, interest: int) -> bool:
        """Tell whether an interest may bring in more hits."""
        return bool(self._room[interest])

    # --- choosing -----------------------------------------------------------------------------

    def eligible(self) -> Rows:
        """List the first candidates that may be chosen now, as many as are weighed for a place.

        Returns:
            Their places in the pool, best first; fewer when there are no more.
        """
        self._extend()
        self._pass_by()
        helping, missing = self.helping, self.window
        if missing == 1 and not helping:  # it is the first that is left
            return np.arange(self._begin, min(self._begin + 1, self._ranked))
        found, start, width = [_NO_ROWS], self._begin, max(self.window, _STRIDE)
        while missing and start < self._ranked:
            span = slice(start, start + width)
            may = self._open(span) & self._helpful(span) if helping else self._open(span)
            found.append(start + np.flatnonzero(may)[:missing])
            missing -= len(found[-1])
            start, width = start + width, 2 * width
        return np.concatenate(found)

    def _open(self, span: slice) -> Bools:
        """Tell which of these candidates may be chosen, but for floors."""
        pool = self._pool
        may: Bools = self._allowed[pool.items[span]] & self._room[pool.interests[span]]
        return may

    def _helpful(self, span: slice) -> Bools:
        """Tell which of these candidates help a floor or an interest that needs hits."""
        pool, needing = self._pool, np.zeros(len(self._found), dtype=np.bool_)
        needing[list(self.open_shares)] = True
        helps: Bools = needing[pool.interests[span]]
        for floor in self.open_floors:
            helps |= pool.helps(floor)[pool.items[span]]
        return helps

    def _pass_by(self) -> None:
        """Leave behind the candidates that come first and can never be chosen any more."""
        if self._ranked < len(self._pool):
            self._begin, self._ranked = 0, len(self._pool)
        items, interests = self._pool.items, self._pool.interests
        while self._begin < self._ranked and not (
            self._allowed[items[self._begin]] and self._room[interests[self._begin]]
        ):
            self._begin += 1

    def choose(self, window: Rows) -> None:
        """Give the next place to the best of these candidates."""
        mmr, pool = self._slate.mmr, self._pool
        best = 0
        if mmr is not None:
            likeness = self._likeness[pool.items[window]] if self.chosen else 0.0
            relevance = float(np.float32(mmr.relevance))
            worth = relevance * pool.values[window] - (1 - relevance) * likeness
            best = int(np.argmax(worth))
        place = int(window[best])
        self._take(int(pool.items[place]), int(pool.interests[place]))

    def _take(self, item: int, interest: int) -> None:
        self.chosen.append((item, interest))
        self._found[interest] += 1
        self._room[interest] = self._found[interest] < self._most[interest]
        traits = self._pool.traits(item)
        for floor, helps in enumerate(traits.helps):
            self._have[floor] += helps
        self._allowed[item] = False
        for cap, values in enumerate(traits.capped):
            for value in values:
                self._count(cap, value)
        if self._compares:
            self._compare(item, 0)
        self._settle()

    def _count(self, cap: int, value: Counted) -> None:
        self._counts[cap, value] += 1
        if self._counts[cap, value] == self._slate.caps[cap].most:
            self.full.add((cap, value))
            self._allowed[self._pool.with_value(cap, value)] = False

    @property
    def _compares(self) -> bool:
        return self._slate.mmr is not None or self._slate.near_duplicate is not None

    def _compare(self, item: int, start: int) -> None:
        """Note how like a chosen item those from a place of the table on are."""
        cosines = self._pool.cosines(item, start)
        self._likeness[start:] = np.maximum(self._likeness[start:], cosines)
        if self._slate.near_duplicate is not None:
            threshold = float(np.float32(self._slate.near_duplicate))
            self._allowed[start:] &= cosines <= threshold

    def _extend(self) -> None:
        """Judge the items that have come to the table since."""
        first, n = len(self._allowed), self._pool.n_items
        if first == n:
            return
        self._allowed = np.concatenate((self._allowed, np.ones(n - first, dtype=np.bool_)))
        self._likeness = np.concatenate((self._likeness, np.full(n - first, -1.0)))
        for cap, value in self.full:
            having = self._pool.with_value(cap, value)
            self._allowed[having[bisect_left(having, first) :]] = False
        if self._compares:
            for item, _ in self.chosen:
                self._compare(item, first)

    # --- the end ------------------------------------------------------------------------------

    def give_up(self) -> bool:
        """Give up the floors that nothing can help any more; tell whether there were any."""
        floors, shares = self.open_floors, self.open_shares
        self._given_up.update(floors)
        self._shares_given_up.update(shares)
        self._settle()
        return bool(floors or shares)

    def unmet(self, *, limited: bool) -> tuple[str, ...]:
        """Name the rules that are not met, and how far each got.

        Args:
            limited: a limit ended the asking, so that nothing is proven.
        """
        unmet = [
            f"floor {f}: {have} of {need}"
            for f, (need, have) in enumerate(zip(self._needs, self._have, strict=True))
            if have < need
        ]
        unmet += [
            f"interest {i}: {found} of {least}"
            for i, (least, found) in enumerate(zip(self._least, self._found, strict=True))
            if found < least
        ]
        if not self.is_full and self._pool.n_items > len(self.chosen):
            unmet.append(f"k: {len(self.chosen)} of {self._k}")
        if limited and unmet:
            unmet.append("limit")
        return tuple(unmet)

    def ranked(self) -> Rows:
        """List the chosen candidates in the order of the answer: their places in the pool."""
        places = [self._pool.place(item, interest) for item, interest in self.chosen]
        return np.array(places if self._slate.mmr is not None else sorted(places), dtype=np.int64)


def _needed(share: float | None, count: int | None, k: int) -> int:
    if count is not None:
        return count
    # 0.1 of 50 is 5.0000001 in float32
    return math.ceil((share or 0.0) * k - 1e-6)
