"""What a fault's trials came to: one row of the table that `make torture` prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What was tried and what went wrong, for one fault.

    Attributes:
        fault: what was done to the system, in a few words.
        trials: how often (kills, crash points, damaged files, requests, steps).
        acknowledged: rows or calls that were acknowledged on the way.
        lost: acknowledged items that were gone afterwards.
        stale: items found in an older state than was acknowledged.
        phantom: items found that nobody wrote, or that were deleted.
        duplicate: ids found twice in one answer.
        wrong: other wrong answers: codes, scores, damage that was not noticed.
        crashes: processes that ended without being told to.
        recovery_s: seconds until it served again, median and longest; None where nothing stops.
        control: how the positive control showed that these trials can see the fault.
        notes: further figures, as text.
    """

    fault: str
    trials: int
    acknowledged: int = 0
    lost: int = 0
    stale: int = 0
    phantom: int = 0
    duplicate: int = 0
    wrong: int = 0
    crashes: int = 0
    recovery_s: tuple[float, float] | None = None
    control: str = ""
    notes: str = ""

    @property
    def failures(self) -> int:
        """Count everything that must not have happened."""
        return self.lost + self.stale + self.phantom + self.duplicate + self.wrong + self.crashes
