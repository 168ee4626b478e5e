"""Placement: the same id is on the same shard for ever, and shards fill evenly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.ids import to_column
from fanlight.model import IdColumn, IdType
from fanlight.placement import SLOTS, ShardIdentity, shards_of, slots_of

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def test_slots_never_change() -> None:
    """Items were placed by these slots: another value here loses stored data."""
    numbers = [0, 1, 2, -1, 42, 10**12, 2**63 - 1, -(2**63)]
    strings = ["a", "b", "item-1", "", "Grüße", "日本語", "\udcff", "x" * 512]
    assert slots_of(to_column(numbers)).tolist() == [
        3503,
        7361,
        5838,
        11296,
        11925,
        2424,
        7847,
        13275,
    ]
    assert slots_of(to_column(strings)).tolist() == [
        13550,
        13967,
        3541,
        3503,
        5879,
        14538,
        12060,
        5687,
    ]


def reference_slot(number: int) -> int:
    """Hash one integer with Python's own arithmetic: splitmix64's finalizer."""
    mask = 2**64 - 1
    z = (number + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) % SLOTS


@given(st.lists(INT64, min_size=1, max_size=20))
def test_slots_of_integers_are_those_of_splitmix64(numbers: list[int]) -> None:
    """The vectorised hash is the published one, one integer at a time."""
    assert slots_of(to_column(numbers)).tolist() == [reference_slot(n) for n in numbers]


@given(st.lists(INT64, min_size=1, max_size=50), st.integers(min_value=1, max_value=64))
def test_an_id_is_placed_alone_as_in_company(numbers: list[int], count: int) -> None:
    """The shard of an id does not depend on what else is in the batch, and it exists."""
    column = to_column(numbers)
    together = shards_of(column, count)
    alone = [int(shards_of(column[i : i + 1], count)[0]) for i in range(len(column))]
    assert together.tolist() == alone
    assert ((together >= 0) & (together < count)).all()


@given(st.text(max_size=30))
def test_every_string_has_a_slot(text: str) -> None:
    """Any text, also such as is no valid UTF-8, is placed."""
    assert 0 <= slots_of(np.array([text], dtype=object))[0] < SLOTS


def test_each_shard_owns_one_run_of_slots() -> None:
    """Ascending slots go to ascending shards, in runs that differ by one slot at most."""
    column = np.arange(200_000)
    slots, shards = slots_of(column), shards_of(column, 7)
    assert np.unique(slots).size == SLOTS
    order = np.argsort(slots, kind="stable")
    assert (np.diff(shards[order]) >= 0).all()
    runs = [np.unique(slots[shards == shard]).size for shard in range(7)]
    assert max(runs) - min(runs) <= 1


def consecutive(id_type: IdType) -> IdColumn:
    numbers = range(30_000)
    return to_column(list(numbers) if id_type is IdType.INT64 else [f"sku-{n}" for n in numbers])


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("count", [2, 3, 16])
def test_shards_fill_evenly(id_type: IdType, count: int) -> None:
    """Consecutive ids, the worst case of a poor hash, spread within 5 standard deviations."""
    filled = np.bincount(shards_of(consecutive(id_type), count), minlength=count)
    share = 30_000 / count
    assert np.abs(filled - share).max() < 5 * np.sqrt(share)


def test_a_shard_has_a_name() -> None:
    """People see shards as they are numbered in the map."""
    assert ShardIdentity("local", 2, 3).name == "shard-2"
