"""One test for two clients: `AsyncClient` made to look like `Client`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias, cast

import fanlight

COLOURS = ["threads", "loop"]
Connect: TypeAlias = Callable[..., fanlight.Client]


class Blocking:
    """Lets a test for threads use an object whose methods must be awaited."""

    def __init__(self, subject: Any, runner: asyncio.Runner) -> None:
        self._subject = subject
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._subject, name)
        if isinstance(value, fanlight.AsyncSets):
            return Blocking(value, self._runner)
        return self._blocking(value) if callable(value) else value

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if inspect.isasyncgen(result):
                return self._each(result)
            if inspect.iscoroutine(result):
                result = self._runner.run(result)
            handle = isinstance(result, fanlight.AsyncCollection)
            return Blocking(result, self._runner) if handle else result

        return call

    def _each(self, pages: AsyncIterator[Any]) -> Iterator[Any]:
        """Ask for each page when the test does, so that it may write between two."""
        while (page := self._runner.run(_following(pages))) is not None:
            yield page


async def _following(pages: AsyncIterator[Any]) -> Any:
    return await anext(pages, None)


@contextmanager
def clients(colour: str) -> Iterator[Connect]:
    """Give what makes clients of that colour for some addresses; all are closed at the end."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner()) if colour == "loop" else None

        def connect(*addresses: str, **options: Any) -> fanlight.Client:
            client: Any = fanlight.Client(addresses, **options)
            if runner is not None:
                client = Blocking(fanlight.AsyncClient(addresses, **options), runner)
            stack.callback(client.close)
            return cast(fanlight.Client, client)

        yield connect
