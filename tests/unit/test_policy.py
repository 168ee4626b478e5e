"""What is built next, and that it comes to an end."""

from __future__ import annotations

import math
import random

import pytest

from fanlight_server.index.policy import Plan, SegmentSize, choose
from fanlight_server.index.settings import IndexConfig

CONFIG = IndexConfig(segments_max=2, dead_share_max=0.2)


def sizes(*rows: int | tuple[int, int]) -> list[SegmentSize]:
    return [SegmentSize(*((r, 0) if isinstance(r, int) else r)) for r in rows]


@pytest.mark.parametrize(
    ("segments", "sealed", "plan"),
    [
        # at rest
        (sizes(), 0, None),
        (sizes(1000), 0, None),
        (sizes(1000, 10), 0, None),
        (sizes((1000, 200)), 0, None),
        # sealed rows get a graph
        (sizes(), 64, Plan((), sealed=True, extend=False)),
        (sizes(10_000), 64, Plan((), sealed=True, extend=False)),
        (sizes(320), 64, Plan((0,), sealed=True, extend=True)),
        (sizes(321), 64, Plan((), sealed=True, extend=False)),
        (sizes(100, 60), 64, Plan((0, 1), sealed=True, extend=True)),
        (sizes(60, 100), 64, Plan((1, 0), sealed=True, extend=True)),
        (sizes(10_000, 60, 100), 64, Plan((2, 1), sealed=True, extend=True)),
        # too many dead rows
        (sizes((1000, 201)), 0, Plan((0,), sealed=False, extend=False)),
        (sizes((1000, 201)), 64, Plan((0,), sealed=True, extend=False)),
        (sizes((10, 10)), 0, Plan((0,), sealed=False, extend=False)),
        (sizes((1000, 900), (10, 9)), 0, Plan((1,), sealed=False, extend=False)),
        # too many segments, or small ones that are no longer small
        (sizes(10, 1000, 20), 0, Plan((2, 0), sealed=False, extend=True)),
        (sizes(199, 1000), 0, None),
        (sizes(200, 1000), 0, Plan((1, 0), sealed=False, extend=True)),
        (sizes(90, 1000, 110), 0, Plan((1, 2, 0), sealed=False, extend=True)),
    ],
)
def test_what_is_due(segments: list[SegmentSize], sealed: int, plan: Plan | None) -> None:
    """Rebuild what is mostly dead, then index what is sealed, then merge; else rest."""
    assert choose(segments, sealed, CONFIG) == plan


@pytest.mark.parametrize(
    ("segments", "copied_rows_max", "merged"),
    [
        ((1000, 10), 999, False),
        ((1000, 10), 1000, True),
        ((1000, 199), 999, False),
        # fewer rows wait in proportion
        ((1000, 5), 1999, False),
        ((1000, 5), 2000, True),
        ((1000, 1), 9999, False),
        ((1000, 1), 10_000, True),
    ],
)
def test_a_long_rest_merges_few_rows(
    segments: tuple[int, ...], copied_rows_max: int, merged: bool
) -> None:
    """What lies beside the largest segment is merged once copying that one is cheap for it."""
    plan = choose(sizes(*segments), 0, CONFIG, copied_rows_max)
    assert plan == (Plan((0, 1), sealed=False, extend=True) if merged else None)


class Simulation:
    """Segments as sizes only; counts the rows that are inserted into graphs."""

    def __init__(self, config: IndexConfig) -> None:
        self.config = config
        self.segments: list[SegmentSize] = []
        self.sealed = 0
        self.inserted = 0
        self.copied = 0

    def build(self) -> bool:
        """Carry out one plan; tell whether there was one."""
        plan = choose(self.segments, self.sealed, self.config)
        if plan is None:
            return False
        taken = [self.segments[i] for i in plan.segments]
        assert plan.segments or plan.sealed
        assert not plan.extend or taken
        rows = sum(s.rows - s.dead for s in taken) + (self.sealed if plan.sealed else 0)
        dead = taken[0].dead if plan.extend else 0
        self.inserted += rows - (taken[0].rows - dead if plan.extend else 0)
        self.copied += rows + dead
        if plan.sealed:
            self.sealed = 0
        self.segments = [s for i, s in enumerate(self.segments) if i not in plan.segments]
        if rows:
            self.segments.insert(0, SegmentSize(rows + dead, dead))
        return True

    def rest(self) -> int:
        """Build until nothing is due; tell how many builds it took."""
        builds = 0
        while self.build():
            builds += 1
            assert builds < 100, "it never comes to rest"
        return builds

    def kill(self, share: float, choice: random.Random) -> int:
        """Let a share of the live rows of every segment die, about; tell how many."""
        killed = 0
        for i, s in enumerate(self.segments):
            n = int((s.rows - s.dead) * share * choice.random() * 2)
            self.segments[i] = SegmentSize(s.rows, s.dead + n)
            killed += n
        return killed


@pytest.mark.parametrize("segments_max", [1, 2, 8])
@pytest.mark.parametrize("rest_between", [False, True])
def test_equal_blocks_are_inserted_a_few_times_each(segments_max: int, rest_between: bool) -> None:
    """Blocks of equal size: few insertions a row, few segments at any time, and then rest."""
    run = Simulation(IndexConfig(segments_max=segments_max))
    blocks, rows = 400, 1000
    for block in range(1, blocks + 1):
        run.sealed += rows
        run.rest() if rest_between else run.build()
        assert len(run.segments) <= 2 + math.log(block, 2)
        if rest_between:
            assert len(run.segments) <= max(segments_max, 1)
    run.rest()
    assert sum(s.rows for s in run.segments) == blocks * rows
    assert len(run.segments) <= segments_max
    assert run.inserted <= 4 * blocks * rows
    if not rest_between:
        assert run.copied <= 12 * blocks * rows
    elif segments_max > 1:
        # the largest segment is copied when a fifth has gathered beside it
        assert run.copied <= 25 * blocks * rows


@pytest.mark.parametrize("seed", range(20))
def test_any_history_comes_to_rest(seed: int) -> None:
    """Random blocks, deletions and moments of building: bounded work, few segments, little dead."""
    choice = random.Random(seed)
    config = IndexConfig(
        segments_max=choice.randint(1, 6), dead_share_max=choice.choice([0.05, 0.2, 0.5])
    )
    run, put, killed = Simulation(config), 0, 0
    for _ in range(300):
        if choice.random() < 0.7:
            n = choice.choice([1, 64, 1000, 1000, 5000])
            run.sealed += n
            put += n
        if choice.random() < 0.3:
            killed += run.kill(choice.choice([0.01, 0.1, 0.5]), choice)
        if choice.random() < 0.6:
            run.build()
    run.rest()
    assert len(run.segments) <= config.segments_max
    assert all(s.dead <= config.dead_share_max * s.rows for s in run.segments)
    assert sum(s.rows - s.dead for s in run.segments) == put - killed
    assert run.inserted <= 6 * put + killed * 2 / config.dead_share_max


def test_a_segment_of_dead_rows_disappears() -> None:
    """Where nothing lives, nothing is kept."""
    run = Simulation(CONFIG)
    run.segments = sizes((500, 500), (100, 100))
    assert run.rest() == 2
    assert run.segments == []
