"""What is let in: by the time it would wait, and by the bytes that it takes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from fanlight.admission import (
    QUEUE,
    RETRY_MIN_S,
    Pace,
    Queue,
    Room,
    answer_bytes,
    items_bytes,
    work_of,
)
from fanlight.errors import NotReady, Overloaded
from fanlight.limits import MIB, Limits
from fanlight.model import SearchRequest
from fanlight_router.pressure import Pressure


def search(queries: int = 1, k: int = 10, **more: object) -> SearchRequest:
    """Make a search of 8 dimensions."""
    vectors = np.ones((queries, 8), dtype=np.float32)
    return SearchRequest("movies", vectors, k, **more)  # type: ignore[arg-type]  # by name


def test_the_pace_of_a_kind_is_that_of_the_last_time() -> None:
    """A kind that was seen takes what it took, by its size; another one what work in general takes."""
    pace = Pace()
    assert not pace.knows("a")
    for _ in range(50):
        pace.learn("a", 1e9, 5.0)
    assert pace.knows("a")
    assert pace.seconds("a", 4e8) == pytest.approx(2.0)
    assert pace.seconds("b", 4e8) == pytest.approx(2.0, rel=0.01)


def test_small_searches_say_nothing_of_large_ones() -> None:
    """A large search of an unknown kind is let in, though a small one took long for its size."""
    pace, queue = Pace(), Queue(1.0, servers=2)
    for _ in range(50):
        pace.learn("small", 800, 0.005)
    queue.enter(pace.seconds("large", 4.8e6), 60.0)
    queue.enter(pace.seconds("large", 4.8e6), 60.0)


def test_the_last_time_counts_most() -> None:
    """A kind takes what it took the last time."""
    pace = Pace()
    pace.learn("a", 10, 5.0)
    pace.learn("a", 10, 1.0)
    assert pace.seconds("a", 4) == pytest.approx(0.4)
    pace.learn("a", 0, 9.0)
    assert pace.seconds("a", 4) == pytest.approx(0.4), "no work is no lesson"


def test_kinds_without_end_are_forgotten() -> None:
    """What callers make up cannot fill the memory."""
    pace = Pace()
    for kind in range(10_000):
        pace.learn(kind, 1, 1.0)
    assert sum(pace.knows(kind) for kind in range(10_000)) <= 256


def test_a_queue_is_as_long_as_its_work_takes() -> None:
    """Work is let in while what waits takes no longer than the limit, over all who do it."""
    queue = Queue(1.0, servers=2)
    queue.enter(1.5, None)
    assert queue.wait_s == pytest.approx(0.75)
    queue.enter(3.5, None)
    with pytest.raises(Overloaded, match="queue_s") as refused:
        queue.enter(0.001, None)
    assert refused.value.field == QUEUE
    assert refused.value.retry_after_s == pytest.approx(1.5)
    queue.leave(3.5)
    queue.enter(0.1, None)


def test_nobody_waits_past_his_own_time() -> None:
    """Who has less time than the queue takes is refused at once, which says nothing of others."""
    queue = Queue(1.0, servers=1)
    queue.enter(0.5, 0.05)
    with pytest.raises(Overloaded) as refused:
        queue.enter(0.1, 0.05)
    assert refused.value.field == "timeout"
    assert refused.value.retry_after_s == pytest.approx(0.45)
    queue.enter(0.1, 0.6)


def test_an_empty_queue_takes_anything() -> None:
    """However long it takes: there is no better moment."""
    Queue(1.0, servers=1).enter(1_000.0, None)


def test_room_is_given_and_given_back() -> None:
    """What does not fit now is told when to come again; what never fits is told so."""
    room = Room("answer", 100)
    room.take(60)
    with pytest.raises(Overloaded, match="bytes_in_flight") as later:
        room.take(50)
    assert later.value.retry_after_s == RETRY_MIN_S
    room.give_back(60)
    room.take(100)
    with pytest.raises(Overloaded, match="bytes_in_flight") as never:
        room.take(101)
    assert never.value.retry_after_s is None


def test_work_grows_with_queries_candidates_and_dimensions() -> None:
    """Twice of any of them is twice the work."""
    one = work_of(search(), 1)
    assert work_of(search(2), 2) == 2 * one
    assert work_of(search(k=20), 1) == 2 * one
    assert work_of(search(ef_search=20), 1) == 2 * one


def test_large_answers_are_counted_and_small_ones_are_not() -> None:
    """An answer counts by its hits, and by what it brings of items, at most a message of it."""
    limits = Limits()
    assert answer_bytes(search(), 1, limits) == 0
    hits = answer_bytes(search(100, 1_000), 100, limits)
    assert hits >= 100 * 1_000 * 12
    assert (
        answer_bytes(search(100, 1_000, with_vectors=True), 100, limits) >= hits + 100 * 1_000 * 32
    )
    much = answer_bytes(search(100, 10_000, with_payloads=True), 100, limits)
    assert much <= 100 * 10_000 * 20 + limits.message_bytes
    assert items_bytes(1, limits) == 0
    assert items_bytes(65_536, limits) == limits.message_bytes == 64 * MIB


def test_a_full_shard_holds_back_what_needs_it() -> None:
    """Until the time that it asked for is over; who can do without it is not held back."""
    now = [100.0]
    pressure = Pressure(3, lambda: now[0])
    pressure.check(1.0)
    pressure.note({0: NotReady("gone"), 1: Overloaded("busy", field="timeout", retry_after_s=9.0)})
    pressure.check(1.0)
    pressure.note({2: Overloaded("busy", field=QUEUE, retry_after_s=0.5)})
    with pytest.raises(Overloaded, match="shard-2") as refused:
        pressure.check(1.0)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    pressure.check(0.6)
    now[0] += 0.51
    pressure.check(1.0)


def test_every_limit_is_documented() -> None:
    """The page of the limits names each key."""
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
    assert [field.name for field in fields(Limits) if f"| `{field.name}` |" not in page] == []
