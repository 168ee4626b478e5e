"""The list of one query while it is made, place by place: the rules themselves.

Laws: caps, shares and near-duplicates are never broken; what is chosen stays chosen. Which
candidates are known, and how others become known, is `fanlight.slate.making`'s matter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from fanlight.model import Rows
from fanlight.queries import Interest, Slate
from fanlight.slate.pool import Bools, Counted, Doubles, Pool


class Shortlist:
    """See the module.

    Attributes:
        chosen: items and interests, in the order of choice.
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
        self._counts: list[Counter[Counted]] = [Counter() for _ in slate.caps]
        # of each item of the table, as far as they are known to the list
        self._allowed: Bools = np.empty(0, dtype=np.bool_)
        self._likeness: Doubles = np.empty(0, dtype=np.float64)
        self._extend()

    # --- what is open -------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Tell whether all places are taken."""
        return len(self.chosen) >= self._k

    @property
    def window(self) -> int:
        """Tell how many candidates are weighed for a place."""
        return 1 if self._slate.mmr is None else self._slate.mmr.candidates

    @property
    def open_floors(self) -> list[int]:
        """List the floors that need more hits."""
        floors = enumerate(zip(self._needs, self._have, strict=True))
        return [f for f, (need, have) in floors if have < need and f not in self._given_up]

    @property
    def open_shares(self) -> list[int]:
        """List the interests that need more hits."""
        shares = enumerate(zip(self._least, self._found, strict=True))
        return [
            i for i, (least, found) in shares if found < least and i not in self._shares_given_up
        ]

    @property
    def helping(self) -> bool:
        """Tell whether the places left are those that open floors need."""
        needed = sum(self._needs[f] - self._have[f] for f in self.open_floors)
        needed += sum(self._least[i] - self._found[i] for i in self.open_shares)
        return 0 < self._k - len(self.chosen) <= needed

    def has_room(self, interest: int) -> bool:
        """Tell whether an interest may bring in more hits."""
        return self._found[interest] < self._most[interest]

    def full_values(self, cap: int) -> list[Counted]:
        """List the values that have reached a cap."""
        most = self._slate.caps[cap].most
        return [value for value, count in self._counts[cap].items() if count >= most]

    # --- choosing -----------------------------------------------------------------------------

    def eligible(self) -> Rows:
        """List the candidates that may be chosen now, best first: their places in the pool."""
        self._extend()
        pool = self._pool
        open_interests = np.array([self.has_room(i) for i in range(len(self._found))])
        may = self._allowed[pool.items] & open_interests[pool.interests]
        if self.helping:
            helps = np.isin(pool.interests, self.open_shares)
            for floor in self.open_floors:
                helps |= pool.helps(floor)[pool.items]
            may &= helps
        return np.flatnonzero(may).astype(np.int64)

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
        for floor in range(len(self._needs)):
            self._have[floor] += int(self._pool.helps(floor)[item])
        self._allowed[item] = False
        for cap, rule in enumerate(self._slate.caps):
            for value in self._pool.capped_values(item, cap):
                self._counts[cap][value] += 1
                if self._counts[cap][value] == rule.most:
                    self._allowed[self._pool.with_value(cap, value)] = False
        if self._compares:
            self._compare(item, slice(0, None))

    @property
    def _compares(self) -> bool:
        return self._slate.mmr is not None or self._slate.near_duplicate is not None

    def _compare(self, item: int, items: slice) -> None:
        """Note how like a chosen item others are."""
        cosines = self._pool.cosines(item)[items]
        self._likeness[items] = np.maximum(self._likeness[items], cosines)
        if self._slate.near_duplicate is not None:
            threshold = float(np.float32(self._slate.near_duplicate))
            self._allowed[items] &= cosines <= threshold

    def _extend(self) -> None:
        """Judge the items that have come to the table since."""
        first, n = len(self._allowed), self._pool.n_items
        if first == n:
            return
        self._allowed = np.concatenate((self._allowed, np.ones(n - first, dtype=np.bool_)))
        self._likeness = np.concatenate((self._likeness, np.full(n - first, -1.0)))
        for cap in range(len(self._slate.caps)):
            full = set(self.full_values(cap))
            for item in range(first, n):
                if full.intersection(self._pool.capped_values(item, cap)):
                    self._allowed[item] = False
        if self._compares:
            for item, _ in self.chosen:
                self._compare(item, slice(first, n))

    # --- the end ------------------------------------------------------------------------------

    def give_up(self) -> bool:
        """Give up the floors that nothing can help any more; tell whether there were any."""
        floors, shares = self.open_floors, self.open_shares
        self._given_up.update(floors)
        self._shares_given_up.update(shares)
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
