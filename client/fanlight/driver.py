"""How the steps of operations are taken for threads, whatever makes the calls.

`fanlight.transport` makes them over gRPC; `fanlight_server.local` in this process.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from google.protobuf.message import Message

from fanlight.calls import Call, Open, Operation, Search, Step, Window
from fanlight.errors import FanlightError
from fanlight.model import Hits

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flight:
    """An operation that runs in a window, its first request sent.

    Attributes:
        operation: the operation.
        land: waits for what its first step gives.
        cancel: gives up on it.
    """

    operation: Operation[Any]
    land: Callable[[], Any]
    cancel: Callable[[], object]


class Driver(ABC):
    """Drives operations for threads. Thread-safe."""

    @abstractmethod
    def check_open(self) -> None:
        """Refuse the use of a closed client."""

    @abstractmethod
    def close(self) -> None:
        """End the connections; calls under way fail."""

    @abstractmethod
    def _call(self, call: Call) -> Message:
        """Send a request and wait for its answer."""

    @abstractmethod
    def _open(self, call: Call) -> Generator[Message, None, None]:
        """Send a request and wait for the first message of its answer."""

    @abstractmethod
    def _search(self, step: Search) -> Hits:
        """Send a search and wait for its answer."""

    @abstractmethod
    def _launch(self, operation: Operation[Any]) -> Flight:
        """Start an operation without waiting for the answer to its first request."""

    def run(self, operation: Operation[T]) -> T:
        """Drive an operation to its end.

        Raises:
            FanlightError: what the operation raises; InvalidRequest after `close`.
        """
        self.check_open()
        result: T = self._finish(operation, lambda: None)
        return result

    def _finish(self, operation: Operation[Any], land: Callable[[], Any]) -> Any:
        """Drive an operation on, once `land` has given what it waits for."""
        try:
            while True:
                try:
                    given = land()
                except FanlightError as error:
                    step = operation.throw(error)
                else:
                    step = operation.send(given)
                land = partial(self._give, step)
        except StopIteration as stop:
            return stop.value
        finally:
            operation.close()

    def _give(self, step: Step) -> Any:
        if isinstance(step, Call):
            return self._call(step)
        if isinstance(step, Search):
            return self._search(step)
        if isinstance(step, Open):
            return self._open(step.call)
        if isinstance(step, Window):
            return self._run_window(step)
        return time.sleep(step.seconds)

    def _run_window(self, window: Window) -> list[Any]:
        waiting, flights, results = iter(window.operations), deque[Flight](), list[Any]()
        try:
            while True:
                flights.extend(map(self._launch, islice(waiting, window.width - len(flights))))
                if not flights:
                    return results
                results.append(self._finish(flights[0].operation, flights[0].land))
                flights.popleft()
        finally:
            for flight in flights:
                flight.cancel()
                flight.operation.close()
