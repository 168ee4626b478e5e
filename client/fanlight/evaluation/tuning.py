"""The cheapest `ef_search` that reaches a recall, found with few measurements."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from fanlight.evaluation.recall import Curve, Point

# The found value may be above the cheapest by this part of it: recall is measured no finer.
_FINENESS = 16


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning measured, and what it chose.

    Attributes:
        target: the recall that was wanted.
        curve: all that was measured, by ascending `ef_search`.
        stored: whether the queries were a sample of the collection's own items.
    """

    target: float
    curve: Curve
    stored: bool

    @property
    def ef_search(self) -> int | None:
        """Give the cheapest that reached the target; None when none did."""
        return self.curve.cheapest(self.target)

    @property
    def best(self) -> Point:
        """Give the point that was chosen, or the last one when none reached the target."""
        points = self.curve.points
        return next((p for p in points if p.ef_search == self.ef_search), points[-1])

    @property
    def recall(self) -> float:
        """Give the recall of `best`."""
        return self.best.recall

    def __str__(self) -> str:
        """Say it in a line."""
        best, curve = self.best, self.curve
        of = f"{curve.queries:,} {'stored items' if self.stored else 'queries'}"
        found = f"recall@{curve.k} {best.recall:.4f} (95 %: {best.low:.4f} to {best.high:.4f})"
        if self.ef_search is None:
            return f"no ef_search reached {self.target}: {best.ef_search} gives {found}, of {of}"
        return f"ef_search={best.ef_search} gives {found}, of {of}"


def rungs(k: int, most: int) -> list[int]:
    """Give the values to try first: k, and steps of about 1.4 up to `most`."""
    values, ef = [k], k
    while ef < most:
        ef = min(max(round(k * 2 ** (len(values) / 2)), ef + 1), most)
        values.append(ef)
    return values


def hunt(k: int, target: float, most: int) -> Generator[int, float, int | None]:
    """Find the smallest `ef_search` that reaches a recall: climb until one does, then bisect.

    A coroutine: it yields a value to measure, and wants to be sent the recall. Its result is the
    smallest value that reached the target, at most a sixteenth above one that did not; None when
    even `most` did not.
    """
    low = high = 0
    for ef in rungs(k, most):
        if (yield ef) >= target:
            high = ef
            break
        low = ef
    if not high or not low:  # nothing reached it; or k did, and a walk keeps k at the least
        return high or None
    while high - low > max(1, high // _FINENESS):
        middle = (low + high) // 2
        if (yield middle) >= target:
            high = middle
        else:
            low = middle
    return high
