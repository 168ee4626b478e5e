"""When a failed call is sent again: which errors, how often, after how long.

Laws: nothing here sleeps or sends; the clock and the dice are handed in. Only errors that say
"not now" are worth another try: `NotReady` (the peer cannot be reached, loads or drains) and
`Overloaded`. Whether repeating a call is safe is the call's own matter, see `fanlight.calls`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from fanlight.errors import FanlightError, NotReady, Overloaded, PartialResult

# A router has just asked every shard. A second try catches the blip of a connection that broke
# under the call; a shard that is really dead is not back within a second, and the caller
# should hear of it at once.
_PARTIAL_RESULT_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter.

    Full jitter spreads the clients of a restarted server evenly over the interval (M. Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

    Attributes:
        attempts: times a request is sent at the most. Four cover a router that is being
            replaced and a short overload; more would only feed a long one.
        first_pause_s: upper bound of the first pause; it doubles with every failure. A new
            connection is tried after 0.1 to 1 s (see `fanlight.wire.channels`).
        longest_pause_s: where the doubling ends.
    """

    attempts: int = 4
    first_pause_s: float = 0.2
    longest_pause_s: float = 2.0

    def pause_s(self, error: FanlightError, failures: int, spread: float) -> float | None:
        """Tell how long to wait before the next attempt.

        Args:
            error: why the last attempt failed.
            failures: attempts that have failed, at least 1.
            spread: where in the interval the pause falls, in [0, 1).

        Returns:
            Seconds, never less than the error's own `retry_after_s`; None to give up.
        """
        if not is_transient(error) or failures >= self._attempts_for(error):
            return None
        bound = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (failures - 1))
        return (error.retry_after_s or 0.0) + spread * bound

    def _attempts_for(self, error: FanlightError) -> int:
        if isinstance(error, PartialResult):
            return min(self.attempts, _PARTIAL_RESULT_ATTEMPTS)
        return self.attempts


def is_transient(error: FanlightError) -> bool:
    """Tell whether the same request may succeed a moment later.

    A limit that time lifts (a queue, a full disk) comes with `retry_after_s`; one that does not (the
    size of a message, the number of collections) comes without.
    """
    return isinstance(error, NotReady) or (
        isinstance(error, Overloaded) and error.retry_after_s is not None
    )


class Throttle:
    """Keeps the repeats of one client from feeding an overload.

    A bucket of tokens: a refusal takes one, a success gives a tenth back, and nothing is repeated
    while it is less than half full. So where everything is refused repeats stop, and in the long
    run they add a tenth to the load at the most (the retry throttling of gRFC A6, "gRPC Retry
    Design"). Only `Overloaded` counts: a server that restarts needs to be asked again. For threads: a
    race loses a token.
    """

    TOKENS = 100.0
    _A_SUCCESS = 0.1

    def __init__(self) -> None:
        self._tokens = self.TOKENS

    @property
    def is_open(self) -> bool:
        """Tell whether a refused request may be repeated."""
        return self._tokens > self.TOKENS / 2

    def refused(self) -> None:
        """Count a request that was refused."""
        self._tokens = max(0.0, self._tokens - 1.0)

    def succeeded(self) -> None:
        """Count a request that was answered."""
        if self._tokens < self.TOKENS:
            self._tokens = min(self.TOKENS, self._tokens + self._A_SUCCESS)


class Budget:
    """What one request may still spend: attempts, and seconds until its deadline.

    The time starts when the object is made. Not thread-safe; each request has its own, but for
    the throttle, which the requests of a client share.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        timeout_s: float,
        throttle: Throttle | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._throttle = throttle or Throttle()
        self._now = now
        self._spread = spread
        self._deadline = now() + timeout_s
        self._failures = 0

    @property
    def remaining_s(self) -> float:
        """Tell the seconds left, at least 0."""
        return max(0.0, self._deadline - self._now())

    def pause_after(self, error: FanlightError) -> float | None:
        """Count a failed attempt.

        Returns:
            Seconds to wait before the next one; None when there is to be none, or no time.
        """
        self._failures += 1
        if isinstance(error, Overloaded):
            self._throttle.refused()
            if not self._throttle.is_open:
                return None
        pause = self._policy.pause_s(error, self._failures, self._spread())
        return pause if pause is not None and pause < self.remaining_s else None

    def succeeded(self) -> None:
        """Count a successful attempt."""
        self._throttle.succeeded()
