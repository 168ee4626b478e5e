"""The engines of a run, loaded with the same vectors and set to the same recall."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from rich.console import Console

from contenders.contract import Contender, Loaded, Setup
from contenders.registry import ENGINES
from load.drivers import CallerProcess, Driver
from plan import Plan
from workload import Answers, Workload

# Past this no engine is asked for more recall.
_EF_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Matched:
    """The ef that reaches a recall, and the recall it gives."""

    ef: int
    recall: float


def matched(recall_at: Callable[[int], float], target: float, k: int, guess: int) -> Matched:
    """Find the smallest ef whose recall is at least the target.

    Recall grows with ef but for a few queries' luck, so a bisection finds an ef at which the
    target is reached and just below which it is not.

    Args:
        recall_at: measures the recall at an ef.
        target: what to reach.
        k: hits of a query; no ef is smaller.
        guess: where to begin.

    Returns:
        The ef and its recall; the largest ef tried if none reaches the target.
    """
    high, reached = guess, recall_at(guess)
    low = k - 1
    while reached < target and high < _EF_MAX:
        low, high = high, min(2 * high, _EF_MAX)
        reached = recall_at(high)
    while high - low > 1 and reached >= target:
        middle = (low + high) // 2
        recall = recall_at(middle)
        if recall >= target:
            high, reached = middle, recall
        else:
            low = middle
    return Matched(high, reached)


@dataclass(frozen=True, slots=True)
class Runner:
    """An engine that is loaded.

    Attributes:
        name: of `ENGINES`.
        engine: the engine.
        loaded: how long loading took.
        matched: with which ef it reaches the yardstick's recall.
    """

    name: str
    engine: Contender
    loaded: Loaded
    matched: Matched

    @property
    def label(self) -> str:
        """Name it in tables."""
        return self.engine.label


class Lineup:
    """All engines of a plan, running at once and asked in turn; a context manager."""

    def __init__(self, work: Workload, plan: Plan, console: Console) -> None:
        """Prepare; nothing is started."""
        self.work, self.plan, self.console = work, plan, console
        self.answers = Answers.of(work, plan.k)
        self.runners: list[Runner] = []
        self._open = contextlib.ExitStack()
        self.callers = CallerProcess(plan.caller_kind)

    def __enter__(self) -> Lineup:
        """Start and load the engines one after another, so that each has the machine alone."""
        self._open.enter_context(self.callers)
        try:
            for name in self.plan.engines:
                self._add(name)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the engines."""
        self._open.close()

    def _add(self, name: str) -> None:
        setup = setup_of(self.plan, self.work, self._open)
        engine = ENGINES[name].make(setup)
        self._open.callback(engine.close)
        loaded = engine.load(self.work.base)

        def recall_at(ef: int) -> float:
            return self.answers.recall(engine.search(self.work.queries, self.plan.k, ef))

        target = self._target
        if target is None:
            match = Matched(self.plan.ef, recall_at(self.plan.ef))
        else:
            match = matched(recall_at, target, self.plan.k, self.plan.ef)
        runner = Runner(name, engine, loaded, match)
        self.runners.append(runner)
        told = f"{loaded.indexed_s:.1f} s to load, ef {match.ef}, recall {match.recall:.4f}"
        self.console.print(f"{runner.label}: {told}", style="dim")

    @property
    def _target(self) -> float | None:
        """Tell what the next engine must reach; the yardstick, which stands first, sets it."""
        return self.runners[0].matched.recall if self.runners else self.plan.recall

    def driver(self, runner: Runner, ef: int | None = None) -> Driver:
        """Give what puts load on an engine, at its matched ef unless told otherwise."""
        return self.callers.driver(runner.engine, self.plan.k, ef or runner.matched.ef)


def setup_of(
    plan: Plan, work: Workload, owner: contextlib.ExitStack, shards: int | None = None
) -> Setup:
    """Prepare what an engine is made from, with a folder that goes when its owner closes."""
    folder = owner.enter_context(tempfile.TemporaryDirectory(prefix="fanlight-bench-"))
    cores = os.cpu_count() or 1
    return Setup(
        search_threads=plan.search_threads or cores,
        dim=work.dim,
        m=plan.m,
        ef_construction=plan.ef_construction,
        shards=shards or plan.shards,
        folder=Path(folder),
        settings=plan.settings,
    )
