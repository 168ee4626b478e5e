"""The threads of a shard server in which everything but searches runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """A bounded pool of threads; used from one event loop."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread; it is not started when the caller has gone by then."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def write(self, submit: Callable[[], Future[T]]) -> T:
        """Run `submit` in a thread and await the write that it returns.

        A write that was submitted goes on when its caller goes: it may already share a
        transaction with others.
        """
        return await asyncio.shield(asyncio.wrap_future(await self.run(submit)))

    def close(self) -> None:
        """Wait for the work under way; call it when no more is submitted."""
        self._pool.shutdown(wait=True)
