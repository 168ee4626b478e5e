"""When a failed call is sent again."""

from __future__ import annotations

import pytest

from fanlight.errors import (
    AlreadyExists,
    Corruption,
    DeadlineExceeded,
    FanlightError,
    InternalError,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    PartialResult,
    PermissionDenied,
    Unauthenticated,
    WrongShard,
)
from fanlight.retry import Budget, RetryPolicy, Throttle

POLICY = RetryPolicy(attempts=4, first_pause_s=0.2, longest_pause_s=0.5)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(
    "error_class",
    [
        InvalidRequest,
        NotFound,
        AlreadyExists,
        WrongShard,
        DeadlineExceeded,
        Corruption,
        Unauthenticated,
        PermissionDenied,
        InternalError,
    ],
)
def test_what_will_not_pass_is_not_repeated(error_class: type[FanlightError]) -> None:
    """Only errors that say "not now" are worth another try."""
    assert POLICY.pause_s(error_class("no"), failures=1, spread=0.5) is None


def test_a_limit_that_time_does_not_lift_is_not_tried_again() -> None:
    """An Overloaded that does not say when to come back is final: the message is too large."""
    assert POLICY.pause_s(Overloaded("too large"), failures=1, spread=0.5) is None
    assert POLICY.pause_s(Overloaded("full", retry_after_s=0.0), 1, spread=0.5) is not None


@pytest.mark.parametrize("error", [NotReady("wait"), Overloaded("wait", retry_after_s=0.0)])
def test_pauses_double_up_to_a_bound(error: FanlightError) -> None:
    """The upper bound of the pause doubles with every failure until the longest one."""
    pauses = [POLICY.pause_s(error, n, spread=1.0) for n in (1, 2, 3)]
    assert pauses == pytest.approx([0.2, 0.4, 0.5])


def test_jitter_spreads_over_the_whole_interval() -> None:
    """A pause may be anything from nothing to its bound, so that clients do not come in step."""
    assert POLICY.pause_s(NotReady("wait"), 1, spread=0.0) == 0.0
    assert POLICY.pause_s(NotReady("wait"), 1, spread=0.25) == pytest.approx(0.05)


def test_attempts_end() -> None:
    """A request is sent no more often than the policy's attempts."""
    assert POLICY.pause_s(NotReady("wait"), 3, spread=0.5) is not None
    assert POLICY.pause_s(NotReady("wait"), 4, spread=0.5) is None
    assert RetryPolicy(attempts=1).pause_s(NotReady("wait"), 1, spread=0.5) is None


def test_a_partial_result_is_repeated_once() -> None:
    """A dead shard is reported after two attempts, whatever the policy allows for others."""
    error = PartialResult("shard-1 does not answer")
    assert POLICY.pause_s(error, 1, spread=0.5) is not None
    assert POLICY.pause_s(error, 2, spread=0.5) is None
    assert RetryPolicy(attempts=1).pause_s(error, 1, spread=0.5) is None


def test_the_servers_own_wish_is_honoured() -> None:
    """A pause is never shorter than the error's `retry_after_s`."""
    error = Overloaded("full", retry_after_s=3.0)
    assert POLICY.pause_s(error, 1, spread=0.0) == pytest.approx(3.0)
    assert POLICY.pause_s(error, 1, spread=0.5) == pytest.approx(3.1)


def test_a_budget_counts_failures() -> None:
    """A budget allows as many attempts as its policy, the first one included."""
    budget = Budget(POLICY, 60.0, now=Clock(), spread=lambda: 0.0)
    assert [budget.pause_after(NotReady("wait")) for _ in range(4)] == [0.0, 0.0, 0.0, None]


def test_a_budget_ends_at_its_deadline() -> None:
    """There is no pause that would end after the deadline: the caller hears of the error now."""
    clock = Clock()
    budget = Budget(POLICY, 1.0, now=clock, spread=lambda: 1.0)
    assert budget.remaining_s == pytest.approx(1.0)
    clock.now_s += 0.7
    assert budget.remaining_s == pytest.approx(0.3)
    assert budget.pause_after(NotReady("wait")) == pytest.approx(0.2)
    assert budget.pause_after(NotReady("wait")) is None
    clock.now_s += 9.0
    assert budget.remaining_s == 0.0


def test_a_clients_repeats_stop_where_everything_is_refused() -> None:
    """After half of the tokens no refused request is repeated, until answers have brought some back."""
    throttle = Throttle()

    def repeats(error: FanlightError) -> bool:
        budget = Budget(POLICY, 60.0, throttle, now=Clock(), spread=lambda: 0.0)
        return budget.pause_after(error) is not None

    refused = Overloaded("full", retry_after_s=0.05)
    assert sum(repeats(refused) for _ in range(1_000)) == Throttle.TOKENS / 2 - 1
    assert repeats(NotReady("restarting")), "a server that restarts is asked again"
    for _ in range(int(Throttle.TOKENS) * 10):
        throttle.succeeded()
    assert repeats(refused)
