"""Ask several shards at once, and judge what came back.

Laws: a shard costs at most the time given, whatever it does. Too few shards are an error, never
a short answer. A fault that all shards see alike is the caller's, not the shards'.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fanlight.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FanlightError,
    InvalidRequest,
    NotFound,
    Overloaded,
    PartialResult,
    PermissionDenied,
    Unauthenticated,
)
from fanlight.model import Coverage
from fanlight.placement import shard_name

T = TypeVar("T")

_CALLER_FAULTS = (InvalidRequest, NotFound, AlreadyExists, Unauthenticated, PermissionDenied)


@dataclass(frozen=True, slots=True)
class Gathered(Generic[T]):
    """What the shards that were asked said.

    Attributes:
        answers: by shard index, ascending.
        failures: why the others gave none, by shard index, ascending.
    """

    answers: Mapping[int, T]
    failures: Mapping[int, FanlightError]

    @property
    def verdict(self) -> FanlightError | None:
        """Give the fault that the shards agree on; None when one answered or they differ.

        Shards agree when all that judged the request see the same kind of fault in it, or when
        all are overloaded: then the caller has to wait.
        """
        errors = list(self.failures.values())
        judged = [error for error in errors if isinstance(error, _CALLER_FAULTS)] or errors
        kinds = {type(error) for error in judged}
        if self.answers or len(kinds) != 1 or not kinds <= {*_CALLER_FAULTS, Overloaded}:
            return None
        return judged[0]


async def gather(
    calls: Mapping[int, Awaitable[T]], timeout_s: float, *, all_or_none: bool = False
) -> Gathered[T]:
    """Run a call to each shard at once and wait at most `timeout_s` for all of them.

    Calls that are late, or whose caller has gone, are cancelled.

    Args:
        calls: by shard index; at least one.
        timeout_s: seconds.
        all_or_none: the first shard that is overloaded ends the wait, so that the others do not
            work for nothing.

    Raises:
        Exception: a call failed with what is no FanlightError: a bug.
    """
    tasks = {index: asyncio.ensure_future(call) for index, call in sorted(calls.items())}
    if all_or_none:
        _end_with_the_first_refusal(list(tasks.values()))
    await _wait(list(tasks.values()), timeout_s)
    errors = {index: _error_of(task) for index, task in tasks.items()}
    return Gathered(
        {index: task.result() for index, task in tasks.items() if errors[index] is None},
        {index: error for index, error in errors.items() if error is not None},
    )


def _is_refusal(error: BaseException | None) -> bool:
    """Tell whether a shard has too much to do just now; what it never takes is another matter."""
    return isinstance(error, Overloaded) and error.retry_after_s is not None


def _end_with_the_first_refusal(tasks: Sequence[asyncio.Future[Any]]) -> None:
    def on_done(done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and _is_refusal(done.exception()):
            for task in tasks:
                task.cancel()

    for task in tasks:
        task.add_done_callback(on_done)


async def _wait(tasks: Sequence[asyncio.Future[Any]], timeout_s: float) -> None:
    """Wait until all are done; cancel what is not by then, or when the caller has gone.

    One after the other: `asyncio.wait` takes 20 microseconds and a turn of the loop more.
    """

    def give_up() -> None:
        for task in tasks:
            task.cancel()

    timer = asyncio.get_running_loop().call_later(timeout_s, give_up)
    this = asyncio.current_task()
    try:
        for task in tasks:
            try:
                await task
            except asyncio.CancelledError:
                if this is not None and this.cancelling():
                    raise
            except Exception:
                continue
    finally:
        timer.cancel()
        give_up()


def _error_of(task: asyncio.Future[Any]) -> FanlightError | None:
    if not task.done() or task.cancelled():
        return DeadlineExceeded("gave no answer in time")
    error = task.exception()
    if error is not None and not isinstance(error, FanlightError):
        raise error
    return error


def named(index: int, error: FanlightError) -> FanlightError:
    """Say in an error which shard it comes from."""
    same = copy(error)
    same.message = f"{shard_name(index)}: {error.message}"
    same.args = (same.message,)
    return same


def needed_of(asked: int, min_coverage: float) -> int:
    """Tell how many shards of those asked must answer; at least one always must."""
    # 0.28 of 25 shards is 7.000000000000001 in floating point.
    return max(1, math.ceil(min_coverage * asked - 1e-9))


def demand(gathered: Gathered[Any], min_coverage: float, coverage: Coverage) -> None:
    """Refuse an answer that too few shards contributed to.

    Args:
        gathered: what the shards said.
        min_coverage: share of the shards asked that must have answered; at least one always must.
        coverage: told to the caller when they have not.

    Raises:
        FanlightError: the fault that the shards agree on.
        Overloaded: too few answered since one was overloaded, which time lifts; names it.
        PartialResult: too few answered; names each failed shard and its reason.
    """
    if gathered.verdict is not None:
        raise gathered.verdict
    answered = len(gathered.answers)
    asked = answered + len(gathered.failures)
    needed = needed_of(asked, min_coverage)
    if answered < needed:
        for index, error in gathered.failures.items():
            if _is_refusal(error):
                raise named(index, error)
        reasons = "; ".join(named(i, error).message for i, error in gathered.failures.items())
        message = f"{answered} of {asked} shards answered, {needed} needed: {reasons}"
        raise PartialResult(message, coverage=coverage)


def demand_all(gathered: Gathered[Any]) -> None:
    """Refuse an answer that any shard failed to contribute to.

    Raises:
        FanlightError: the fault that the shards agree on, or that of the first failed shard,
            which it names.
    """
    if gathered.verdict is not None:
        raise gathered.verdict
    for index, error in gathered.failures.items():
        raise named(index, error)
