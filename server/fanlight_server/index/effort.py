"""How builds use the cores that searches leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# Steps between two looks at the stop signal. A step of a graph is a row: about 0.1 s of one core at 784
# dimensions. One of cells is a row too: about 0.04 s with 60,000 rows of as many dimensions.
_STEPS = 1_024
# How long such a stretch may wait for cores that nobody else wants: searches beside a build then
# take hardly longer, and where all cores stay taken it goes on nevertheless.
_PATIENCE_S = 4.0


class BuildStopped(Exception):
    """The build was told to stop; nothing of it remains."""


class Builder(Protocol):
    """What is built in steps by the kernel; see `kernel.Builder` and `kernel.CellBuilder`."""

    @property
    def steps(self) -> int:
        """Tell how many there are."""
        ...

    def __len__(self) -> int:
        """Count those that were done."""
        ...

    def add(self, stop: int, threads: int, patience_s: float = 0.0) -> float:
        """Do the steps up to `stop`; returns the seconds of CPU that it took."""
        ...


@dataclass(slots=True)
class Effort:
    """How a build may use the cores, and what it got of them.

    Attributes:
        threads: threads to build with. More than one makes the graph depend on their timing.
        stopped: asked about ten times a second whether to stop.
        urgent: asked as often whether to take part of the cores even from others, at the priority
            of the calling thread, rather than what they leave.
        waited_s: seconds that the build was not running though it could have.
    """

    threads: int = 1
    stopped: Callable[[], bool] = lambda: False
    urgent: Callable[[], bool] = lambda: True
    waited_s: float = 0.0

    def spend_on(self, builder: Builder) -> None:
        """Do all steps of a builder, and note how long it waited.

        Raises:
            BuildStopped: `stopped` said so.
        """
        while len(builder) < builder.steps:
            if self.stopped():
                raise BuildStopped
            stop = min(len(builder) + _STEPS, builder.steps)
            started = time.monotonic()
            cpu_s = builder.add(stop, self.threads, 0.0 if self.urgent() else _PATIENCE_S)
            self.waited_s += max(0.0, time.monotonic() - started - cpu_s / self.threads)
