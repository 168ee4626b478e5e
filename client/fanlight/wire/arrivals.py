"""How often searches come, to tell whether waiting for company is worth it."""

from __future__ import annotations

# The newest gap is so much of the mean, and of a pause no more counts than so many windows: the first
# searches after it are taken for the beginning of a burst.
_NEWEST = 1 / 8
_PAUSE = 4.0


class Arrivals:
    """The mean time between the last dozen or so arrivals, compared with a window.

    Args:
        window_s: seconds in which another must be likely.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._last_at = self._gap_s = 0.0

    def add(self, now: float) -> None:
        """Count an arrival at this moment, in seconds of a clock that never goes back."""
        gap_s = min(now - self._last_at, _PAUSE * self._window_s)
        self._gap_s += _NEWEST * (gap_s - self._gap_s)
        self._last_at = now

    @property
    def are_frequent(self) -> bool:
        """Tell whether another one is likely within the window."""
        return self._gap_s < self._window_s
