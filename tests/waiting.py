"""Waiting for a condition with a deadline, the one way in which tests wait."""

from __future__ import annotations

import time
from collections.abc import Callable

# Short beside a test, long beside a condition.
STEP_S = 0.005


def wait_until(
    condition: Callable[[], object],
    timeout_s: float = 10.0,
    what: str = "the condition",
    step_s: float = STEP_S,
) -> None:
    """Wait until a condition holds.

    Args:
        condition: asked again and again.
        timeout_s: for how long.
        what: is waited for, as the failure says it.
        step_s: between two questions; longer where a question costs a call.

    Raises:
        AssertionError: it does not hold in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(step_s)
