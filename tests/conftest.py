"""What tests of every kind use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import hypothesis
import pytest
from tests import waiting

# Machines of very different speed run these tests, so no example has a deadline.
hypothesis.settings.register_profile("fanlight", deadline=None, max_examples=50)
hypothesis.settings.load_profile("fanlight")


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Give `wait_until(condition, timeout_s=10)`, which fails when the condition stays false."""
    return waiting.wait_until


@pytest.fixture
def wait_until_async() -> Callable[..., Awaitable[None]]:
    """Give the same to be awaited, for conditions that come true on the event loop."""

    async def wait(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not so within {timeout_s} s"
            await asyncio.sleep(waiting.STEP_S)

    return wait
