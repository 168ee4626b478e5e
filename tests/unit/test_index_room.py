"""How much an index takes from writers: less while searches come, nothing while they need cores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import block_of, floats, spec_of

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.model import IdColumn, Rows
from fanlight_server.index import graph
from fanlight_server.index.effort import Effort
from fanlight_server.index.index import Index
from fanlight_server.index.settings import IndexConfig

DIM = 64
ROW_BYTES = 4 * DIM
CONFIG = IndexConfig(
    head_bytes=64 * ROW_BYTES,
    unindexed_bytes=1_024 * ROW_BYTES,
    unindexed_bytes_searched=256 * ROW_BYTES,
)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        """Start somewhere."""
        self.seconds = 1_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def index(clock: Clock) -> Index:
    return Index(spec_of(DIM), CONFIG, clock)


def room(index: Index) -> int:
    """Tell the rows that there is room for, without waiting for any."""
    return index.wait_for_room(lambda: True) // ROW_BYTES


def fill(index: Index, rows: int) -> None:
    """Seal so many rows."""
    first = index.view.seq + 1
    index.upsert(np.arange(first, first + rows), first, floats(1, rows, DIM))
    index.seal(1)


def no_fields(ids: IdColumn, seqs: Rows, fields: Mapping[str, FieldType]) -> list[FieldValues]:
    raise AssertionError("no field is declared")


def build(index: Index, folder: Path) -> None:
    """Build what is due and show it."""
    plan = index.plan()
    assert plan is not None
    path = folder / f"{plan.seq:08d}.seg"
    built = index.execute(plan, path, threads=1, stopped=lambda: False, read=no_fields)
    with index.changing:
        index.publish(built)


def waited(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let builds find that they waited so long for cores."""
    real = graph.build

    def slow(*arguments: object) -> graph.GraphArrays:
        effort = arguments[-1]
        assert isinstance(effort, Effort)
        arrays = real(*arguments)  # type: ignore[arg-type]
        effort.waited_s = seconds
        return arrays

    monkeypatch.setattr(graph, "build", slow)


def test_less_waits_for_a_graph_while_searches_come(index: Index, clock: Clock) -> None:
    """Searches scan what has no graph, so that there is less of it for 10 s after the last one."""
    assert room(index) == 1_024
    fill(index, 200)
    assert room(index) == 824
    index.note_search()
    assert room(index) == 56
    clock.seconds += 9.9
    assert room(index) == 56
    clock.seconds += 0.2
    assert room(index) == 824


def test_writes_wait_when_a_build_had_to(
    index: Index, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that got no core says that searches need them: writes pause three times as long."""
    waited(monkeypatch, 1.0)
    index.note_search()
    fill(index, 200)
    build(index, tmp_path)
    assert room(index) <= 0
    clock.seconds += 2.9
    index.note_search()
    assert room(index) <= 0
    clock.seconds += 0.2
    assert room(index) == 256


def test_writes_do_not_wait_when_nobody_searches(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cores that others took are no reason to pause."""
    waited(monkeypatch, 3.0)
    fill(index, 200)
    build(index, tmp_path)
    assert room(index) == 1_024


def test_a_build_is_urgent_when_searches_scan_too_much(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came before the first search is indexed at once, later builds leave cores to searches.

    Without searches every build is.
    """
    told: list[bool] = []
    real = graph.build

    def ask(*arguments: object) -> graph.GraphArrays:
        effort = arguments[-1]
        assert isinstance(effort, Effort)
        told.append(effort.urgent())
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(graph, "build", ask)
    fill(index, 100)
    build(index, tmp_path)
    fill(index, 1_000)
    index.note_search()
    build(index, tmp_path)
    fill(index, 250)
    build(index, tmp_path)
    assert told == [True, True, False]


@pytest.mark.parametrize("urgent", [True, False])
def test_an_effort_is_told_how_long_it_waited(urgent: bool) -> None:
    """The time without a core is at least nothing, and less than the whole."""
    effort = Effort(urgent=lambda: urgent)
    block = block_of(np.arange(500), floats(1, 500, DIM))
    graph.build(spec_of(DIM), block.codes, None, effort)
    assert 0.0 <= effort.waited_s < 60.0
