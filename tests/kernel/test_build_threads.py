"""Builders used by several threads of Python."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.kernel.builds import assert_sound, codes_of
from tests.kernel.pieces import GraphArrays, floats

import fanlight_kernel as kernel


def test_calls_wait_for_each_other() -> None:
    """Adding from many threads at once inserts every row once."""
    vectors = floats(1, 2_000, 12)
    builder = kernel.Builder("l2", codes_of("l2", vectors), 12, 8, 40)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda stop: builder.add(stop, 2), range(100, 2_001, 100)))
    assert len(builder) == 2_000
    assert_sound("l2", vectors, GraphArrays(*builder.finish()))


def test_one_of_many_finishes() -> None:
    """Of calls that finish at once one gets the graph, the others an error."""
    vectors = floats(2, 500, 12)
    builder = kernel.Builder("l2", codes_of("l2", vectors), 12, 8, 40)
    builder.add(500, 1)
    together = threading.Barrier(4)

    def finish() -> str:
        together.wait()
        try:
            return f"{len(builder.finish()[1])} rows"
        except RuntimeError as error:
            return str(error).partition(":")[0]

    with ThreadPoolExecutor(4) as pool:
        told = sorted(pool.map(lambda _: finish(), range(4)))
    assert told == ["500 rows", *["the builder is closed"] * 3]
    assert len(builder) == 500


@pytest.mark.slow
def test_other_threads_run_while_rows_are_added() -> None:
    """Nothing of a build keeps the interpreter to itself."""
    vectors = floats(3, 6_000, 32)
    codes = codes_of("l2", vectors)
    done = threading.Event()

    def build() -> None:
        builder = kernel.Builder("l2", codes, 32, 16, 200)
        builder.add(6_000, 1)
        builder.finish()
        done.set()

    worker = threading.Thread(target=build)
    worker.start()
    turns = 0
    while not done.wait(0.001):
        turns += 1
    worker.join()
    assert turns > 10


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there threads have priorities")
def test_threads_have_the_priority_of_the_caller(wait_until: Callable[..., None]) -> None:
    """A caller that gives way to others builds with threads that do so too."""
    with building(patience_s=0.0, nice=7):
        wait_until(lambda: told_of_builders(os.getpriority, os.PRIO_PROCESS) == [7, 7])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there threads can take what is left over")
def test_patient_builds_take_what_is_left_of_the_cores(wait_until: Callable[..., None]) -> None:
    """With patience all threads that insert give way to everything else."""
    with building(patience_s=60.0):
        wait_until(lambda: told_of_builders(os.sched_getscheduler) == 3 * [os.SCHED_IDLE])


@pytest.mark.parametrize("patience_s", [1e-9, 0.01, 60.0])
def test_builds_end_when_patience_does(patience_s: float) -> None:
    """A graph is whole, whoever inserted its rows."""
    vectors = floats(6, 3_000, 12)
    builder = kernel.Builder("l2", codes_of("l2", vectors), 12, 8, 40)
    builder.add(3_000, 2, patience_s)
    assert_sound("l2", vectors, GraphArrays(*builder.finish()))


@pytest.mark.parametrize("patience_s", [-1.0, float("nan"), float("inf"), 86_401.0])
def test_patience_is_a_number_of_seconds(patience_s: float) -> None:
    """Anything else is refused by name, and the builder goes on."""
    vectors = floats(7, 100, 12)
    builder = kernel.Builder("l2", codes_of("l2", vectors), 12, 8, 40)
    with pytest.raises(ValueError, match="patience_s: expected 0 to 86400"):
        builder.add(100, 1, patience_s)
    builder.add(100, 1)
    assert len(builder) == 100


@contextlib.contextmanager
def building(patience_s: float, nice: int | None = None) -> Iterator[None]:
    """Build on three threads for as long as the block runs."""
    codes = codes_of("l2", floats(5, 4_000, 64))
    ended = threading.Event()

    def build() -> None:
        if nice is not None:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        while not ended.is_set():
            kernel.Builder("l2", codes, 64, 16, 200).add(4_000, 3, patience_s)

    worker = threading.Thread(target=build)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()


def told_of_builders(tell: Callable[..., int], *first: int) -> list[int]:
    """Ask the system something about each thread of this process that builds."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            if (task / "comm").read_text().strip() == "fanlight-build":
                found.append(tell(*first, int(task.name)))
    return found


def test_the_codes_outlive_their_name() -> None:
    """The builder keeps what it compares."""
    vectors = floats(4, 300, 12)
    builder = kernel.Builder("l2", codes_of("l2", vectors), 12, 8, 40)
    junk = [np.full((300, 64), i, dtype=np.uint8) for i in range(50)]
    builder.add(300, 1)
    del junk
    assert_sound("l2", vectors, GraphArrays(*builder.finish()))
