"""What tests of every kind use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import hypothesis
import pytest

# Machines of very different speed run these tests, so no example has a deadline.
hypothesis.settings.register_profile("fanlight", deadline=None, max_examples=50)
hypothesis.settings.load_profile("fanlight")

# Polling steps: short beside a test, long beside a condition.
_STEP_S = 0.005


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Give `wait_until(condition, timeout_s=10)`, which fails when the condition stays false."""

    def wait(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not so within {timeout_s} s"
            time.sleep(_STEP_S)

    return wait


@pytest.fixture
def wait_until_async() -> Callable[..., Awaitable[None]]:
    """Give the same to be awaited, for conditions that come true on the event loop."""

    async def wait(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not so within {timeout_s} s"
            await asyncio.sleep(_STEP_S)

    return wait
