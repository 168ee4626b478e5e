"""What the benchmarks' figures stand on: exact answers, fair load, honest arithmetic."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter

import numpy as np
import pytest

from lineup import matched
from load import tasks, threads
from load.figures import Record, summary
from load.shape import poisson_arrivals, requests
from paper import Scale, Straight, Tail
from tables.grid import Grid
from workload import Answers, Floats, Workload, clustered

WORK = clustered(rows=400, dim=8, seed=1)


def test_answers_are_the_nearest_by_cosine() -> None:
    answers = Answers.of(WORK, 5)
    base = WORK.base / np.linalg.norm(WORK.base, axis=1, keepdims=True)
    for query, ids in zip(WORK.queries, answers.ids, strict=True):
        scores = base @ query
        assert np.allclose(np.sort(scores)[::-1][:5], scores[ids], atol=1e-5)


def test_recall_is_the_share_found() -> None:
    answers = Answers.of(WORK, 4)
    assert answers.recall(answers.ids) == 1
    half = answers.ids.copy()
    half[:, 2:] = -1
    assert answers.recall(half) == 0.5


def test_an_equal_score_counts_and_a_repeated_id_does_not() -> None:
    base = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    answers = Answers.of(Workload("equal", base, base[:1]), 2)
    assert answers.ids.tolist() == [[0, 1]]
    assert answers.recall(np.array([[2, 1]])) == 1
    assert answers.recall(np.array([[0, 0]])) == 0.5
    assert answers.recall(np.array([[0, 3]])) == 0.5


def test_fresh_vectors_equal_none_of_the_base() -> None:
    fresh = WORK.fresh()
    assert fresh.shape == WORK.base.shape
    assert fresh.dtype == np.float32
    assert not set(map(bytes, fresh)) & set(map(bytes, WORK.base))


@pytest.mark.parametrize("needed", [10, 11, 63, 64, 65, 200, 4096])
def test_matching_finds_the_smallest_ef_that_reaches_the_recall(needed: int) -> None:
    asked: list[int] = []

    def recall_at(ef: int) -> float:
        asked.append(ef)
        return 0.9 if ef >= needed else 0.8

    assert matched(recall_at, 0.9, k=10, guess=64).ef == needed
    assert min(asked) >= 10
    assert max(asked) <= 4096


def test_matching_gives_its_best_when_nothing_suffices() -> None:
    found = matched(lambda ef: ef / 10_000, 0.9, k=10, guess=64)
    assert (found.ef, found.recall) == (4096, 0.4096)


@pytest.mark.parametrize(("rows", "parts"), [(1, 500), (32, 15), (1_000, 1)])
def test_requests_have_as_many_queries_as_asked(rows: int, parts: int) -> None:
    cut = requests(WORK.queries, rows)
    assert [part.shape for part in cut] == [(rows, 8)] * parts
    assert np.array_equal(cut[0][: min(rows, 500)], WORK.queries[: min(rows, 500)])


def test_arrivals_are_poisson() -> None:
    times = poisson_arrivals(1_000, 20, seed=3)
    gaps = np.diff(times)
    assert times[-1] < 20
    assert abs(len(times) - 20_000) < 5 * np.sqrt(20_000)
    # Exponential gaps spread as much as they last on average.
    assert abs(gaps.std() / gaps.mean() - 1) < 0.05
    assert np.array_equal(times, poisson_arrivals(1_000, 20, seed=3))


def test_latency_counts_from_when_a_call_was_due() -> None:
    """One worker that takes 10 ms meets ten arrivals at once: they wait for one another."""
    record = threads.arriving(lambda _: time.sleep(0.01), [WORK.queries[:1]], np.zeros(10), 1)
    assert len(record.latencies_s) == 10
    for number, latency in enumerate(record.latencies_s, 1):
        assert latency >= 0.01 * number


def test_tasks_arrive_without_waiting_for_answers() -> None:
    """Of 50 calls that only end together, all are under way before the first is answered."""
    released = asyncio.Event()
    waiting = 0

    async def search(_: Floats) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 51:
            released.set()
        # The first is the warm-up, which has to be answered alone.
        if waiting > 1:
            await released.wait()

    record = tasks.run(tasks.arriving(search, [WORK.queries[:1]], np.linspace(0, 0.05, 50)))
    assert len(record.latencies_s) == 50
    assert record.errors == Counter()


def test_failed_calls_are_counted_and_not_timed() -> None:
    calls = itertools.count()
    lock = threading.Lock()

    def search(_: Floats) -> None:
        with lock:
            number = next(calls)
        if number % 2:
            raise ConnectionError

    record = threads.arriving(search, [WORK.queries[:1]], np.zeros(10), 2)
    assert len(record.latencies_s) == 5
    assert record.errors == {"ConnectionError": 5}


def test_callers_wait_for_their_answers() -> None:
    busy, most = 0, 0
    lock = threading.Lock()

    def search(_: Floats) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.001)
        with lock:
            busy -= 1

    record = threads.closed(search, requests(WORK.queries, 1), callers=3, seconds=0.05)
    assert most <= 3
    assert min(record.latencies_s) >= 0.001


def test_an_error_ends_a_measurement_of_callers() -> None:
    def search(_: Floats) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        threads.closed(search, requests(WORK.queries, 1), callers=2, seconds=1)


def test_percentiles_are_told_only_where_calls_support_them() -> None:
    few = summary(Record([0.001] * 100, 1.0, 0.0, Counter()))
    many = summary(Record([0.001] * 100_000, 1.0, 0.0, Counter()))
    assert max(p for p, _ in few.percentiles if p < 100) == 90
    assert max(p for p, _ in many.percentiles if p < 100) == 99.99
    assert (few.per_second, few.p50_ms) == (100, 1)


def test_a_batch_counts_all_its_queries() -> None:
    assert summary(Record([0.5, 0.5], 1.0, 0.0, Counter()), rows=32).per_second == 64


def test_a_grid_is_markdown() -> None:
    text = Grid("Speed", ["", "a"], [["x", "1"]], "A note.").markdown()
    assert text == "**Speed**\n\n|  | a |\n| --- | ---: |\n| x | 1 |\n\nA note.\n"


UNIFORM = Tail([(float(p), float(p)) for p in range(101)], calls=100_000)


@pytest.mark.parametrize("shards", [1, 10, 100])
def test_a_fan_out_is_as_slow_as_its_slowest_shard(shards: int) -> None:
    """The largest of n uniform times is below t with chance t^n."""
    ms = UNIFORM.fan_out(shards, 0.5)
    assert ms is not None
    assert abs((ms / 100) ** shards - 0.5) < 1e-6


def test_hedging_needs_two_slow_replicas() -> None:
    """After 95 of 100 ms a second copy is sent; beyond t only when it took more than t - 95."""
    assert UNIFORM.hedged_beyond(94) == UNIFORM.beyond(94)
    assert abs(UNIFORM.hedged_beyond(98) - 0.02 * 0.97) < 1e-9


def test_what_was_not_measured_is_not_told() -> None:
    """With 1,000 shards, half of the fan-outs hit what one call in 1,443 shows."""
    few = Tail(UNIFORM.percentiles, calls=1_000)
    assert few.fan_out(1_000, 0.5) is None
    assert UNIFORM.fan_out(1_000, 0.5) is not None


def test_a_tree_has_routers_enough() -> None:
    assert Scale(10**9, 1_000, 32).levels == [1, 32]
    assert Scale(10**9, 1_000, 10).levels == [1, 10, 100]
    assert Scale(10**9, 1_000, 1_000).levels == [1]


def test_a_cost_that_noise_lets_fall_is_level() -> None:
    assert Straight.through([1, 2], [3, 5]).at(4) == pytest.approx(9)
    assert Straight.through([1, 2], [5, 3]).at(4) == pytest.approx(4)
