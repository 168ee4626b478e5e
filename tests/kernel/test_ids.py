"""Rows by id: those that are not among some ids; and shards by id."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fanlight_kernel as kernel
from fanlight.placement import SLOTS, shards_of

INT64 = np.iinfo(np.int64)


def expected(ids: NDArray[np.int64], gone: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.packbits(~np.isin(ids, gone), bitorder="little")


@pytest.mark.parametrize("held", [0, 1, 7, 8, 9, 1_000])
@pytest.mark.parametrize("gone", [0, 1, 5, 255, 256, 257, 1_000, 30_000])
@pytest.mark.parametrize("span", [1_200, 50_000, 2**62])
def test_rows_are_told_as_by_numpy(held: int, gone: int, span: int) -> None:
    """Few among many, many among few, in no order, with ids that stand several times in both."""
    rng = np.random.default_rng(held + gone)
    ids = rng.integers(-span, span, held)
    ids[: held // 3] = ids[held - held // 3 :]
    others = np.concatenate([rng.integers(-span, span, gone), ids[: gone // 2 : 3], ids[:2]])
    table = kernel.IdTable(ids)
    np.testing.assert_array_equal(table.rows_without(others), expected(ids, others))
    np.testing.assert_array_equal(table.rows_without(np.sort(others)), expected(ids, others))


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("steps", [0, 1, 255, 256, 257, 512, 513, 5_000])
@pytest.mark.parametrize("most", [1, 2, 30, 1 << 16])
def test_steps_are_ids(width: int, steps: int, most: int) -> None:
    """Of every width, in any number of blocks, close together and not; and what lies around them."""
    rng = np.random.default_rng(steps)
    column = rng.integers(0, min(most, 1 << 8 * width), steps).astype(f"u{width}")
    gone = -7 + np.cumsum([0, *column.tolist()])
    around = np.arange(1, 20)
    others = np.concatenate([gone + 1, gone[0] - around, gone[-1] + around, [INT64.min, INT64.max]])
    ids = np.concatenate([rng.choice(gone, 150), rng.choice(others, 150)])
    bits = kernel.IdTable(ids).rows_without_steps(-7, column)
    np.testing.assert_array_equal(bits, expected(ids, gone))


@pytest.mark.parametrize("first", [INT64.min, -300, INT64.max - 2_000])
@pytest.mark.parametrize("held", [9, 1_000, 20_000])
def test_ids_that_lie_close_together_are_told_apart(first: int, held: int) -> None:
    """At the ends of int64 too, and among more rows than ids."""
    rng = np.random.default_rng(held)
    ids = first + rng.integers(0, 2_001, held)
    ids[: held // 9] = rng.integers(INT64.min, INT64.max, held // 9, endpoint=True)
    for gone in (first + rng.integers(0, 2_001, 400), first + np.arange(0, 2_001, 2)):
        np.testing.assert_array_equal(kernel.IdTable(ids).rows_without(gone), expected(ids, gone))


def test_steps_past_the_greatest_id_are_others() -> None:
    """Anywhere, but they are read and nothing else."""
    table = kernel.IdTable(np.arange(8))
    assert table.rows_without_steps(INT64.max, np.ones(3, dtype=np.uint8)).tolist() == [255]


def test_the_ends_of_int64_are_ids() -> None:
    ids = np.array([INT64.min, -1, 0, INT64.max])
    for gone in ([INT64.min], [INT64.max], [INT64.min, INT64.max], [-1, 0]):
        bits = kernel.IdTable(ids).rows_without(np.array(gone))
        assert bits.tolist() == expected(ids, np.array(gone)).tolist()


def test_a_table_stays_as_it_is() -> None:
    """Whatever becomes of the column that it was made of."""
    ids = np.arange(1_000)
    table = kernel.IdTable(ids)
    ids[:] = -1
    assert np.unpackbits(table.rows_without(np.arange(500)), bitorder="little").sum() == 500


def test_one_id_of_many_rows() -> None:
    """As one that was written again and again: all of its rows, however often it is given.

    Once would be 40 milliseconds for a million rows; a million times half a day.
    """
    ids = np.full(1_000_000, 5)
    ids[7::1_000] = 6
    table = kernel.IdTable(ids)
    for gone in (np.array([5]), np.append(np.full(1_000_000, 5), 1 << 60)):
        np.testing.assert_array_equal(table.rows_without(gone), expected(ids, gone))


def test_columns_of_other_types_are_refused() -> None:
    ids = np.arange(3)
    table, narrow = kernel.IdTable(ids), ids.astype(np.int32)
    wrong: Any
    for wrong in (narrow, ids.astype(np.uint64), [1, 2]):
        with pytest.raises(TypeError, match="gone: expected an array of int64"):
            table.rows_without(wrong)
        with pytest.raises(TypeError, match="ids: expected an array of int64"):
            kernel.IdTable(wrong)
        with pytest.raises(TypeError, match="ids: expected an array of int64"):
            kernel.split_by_shard(wrong, 3)
    with pytest.raises(ValueError, match="gone: expected shape"):
        table.rows_without(ids[None])
    for wrong in (narrow, ids.astype(np.int8)):
        with pytest.raises(TypeError, match="steps: expected an array of uint"):
            table.rows_without_steps(0, wrong)


@pytest.mark.parametrize("count", [0, 1, 3_000, 100_000])
@pytest.mark.parametrize("shards", [1, 3, 8, 1_000, SLOTS])
def test_ids_are_split_as_they_are_placed(count: int, shards: int) -> None:
    """Each goes to its owner, in the order in which it came."""
    ids = np.random.default_rng(count).integers(INT64.min, INT64.max, count, endpoint=True)
    ids[: count // 3] = ids[count - count // 3 :]
    parts, bounds = kernel.split_by_shard(ids, shards)
    owners = shards_of(ids, shards)
    assert (bounds[0], bounds[-1], len(bounds)) == (0, count, shards + 1)
    for shard, (start, stop) in enumerate(pairwise(bounds)):
        if shard % 97 < 5:
            np.testing.assert_array_equal(parts[start:stop], ids[owners == shard])
    assert np.bincount(owners, minlength=shards).tolist() == np.diff(bounds).tolist()


@pytest.mark.parametrize("shards", [0, -1, SLOTS + 1])
def test_there_are_no_more_shards_than_slots(shards: int) -> None:
    with pytest.raises(ValueError, match="shards"):
        kernel.split_by_shard(np.arange(3), shards)


def encoded(ids: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    parts = [value.encode() for value in ids]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.uint64)
    return offsets, np.frombuffer(b"".join(parts), dtype=np.uint8)


def joined(ids: list[str]) -> bytes:
    return "".join(value + "\0" for value in ids).encode()


def strings(rng: np.random.Generator, count: int, most: int) -> list[str]:
    """Draw strings of up to `most` characters, of few letters, so that many begin alike."""
    sizes = rng.integers(0, most + 1, count)
    return ["".join(rng.choice(list("ab\u20ac"), size)) for size in sizes]


@pytest.mark.parametrize("held", [0, 1, 7, 8, 9, 1_000])
@pytest.mark.parametrize("gone", [0, 1, 255, 256, 257, 3_000])
@pytest.mark.parametrize("most", [3, 9, 40])
def test_rows_of_strings_are_told_as_by_python(held: int, gone: int, most: int) -> None:
    """Of any size, alike up to the last byte, in no order, several times in both."""
    rng = np.random.default_rng(held + gone + most)
    ids = strings(rng, held, most)
    ids[: held // 3] = ids[held - held // 3 :]
    others = [*strings(rng, gone, most), *ids[: gone // 2 : 3], *ids[:2]]
    excluded = set(others)
    wanted = np.array([value not in excluded for value in ids], dtype=np.bool_)
    bits = kernel.StringIdTable(*encoded(ids)).rows_without(joined(others))
    np.testing.assert_array_equal(bits, np.packbits(wanted, bitorder="little"))


def test_a_string_that_holds_a_nul_is_none_of_those_joined() -> None:
    ids = ["a", "a\0b", "b", "a\0", "\0", ""]
    table = kernel.StringIdTable(*encoded(ids))
    for gone, left in (
        (b"a\0b\0", "010111"),
        (b"\0", "111110"),
        (b"a\0\0b\0", "010110"),
        (b"", "111111"),
        (b"b\0a", "110111"),  # what follows the last NUL is left out
    ):
        bits = np.unpackbits(table.rows_without(gone), bitorder="little")[: len(ids)]
        assert "".join(map(str, bits)) == left


def test_one_string_of_many_rows() -> None:
    """All of its rows, however often it is given; see `test_one_id_of_many_rows`."""
    ids = ["five"] * 300_000
    ids[7::1_000] = ["six"] * 300
    table = kernel.StringIdTable(*encoded(ids))
    wanted = np.packbits(np.array(ids) == "six", bitorder="little")
    for gone in (["five"], ["five"] * 300_000):
        np.testing.assert_array_equal(table.rows_without(joined(gone)), wanted)


def test_a_table_of_strings_keeps_its_arrays() -> None:
    table = kernel.StringIdTable(*encoded([f"item {n}" for n in range(1_000)]))
    gone = joined([f"item {n}" for n in range(500)])
    assert np.unpackbits(table.rows_without(gone), bitorder="little").sum() == 500


@pytest.mark.parametrize(
    "offsets", [[], [1], [0, 4], [0, 3, 2], [0, 9, 3], [0, 2**63, 3], [0, 2, 1, 3]]
)
def test_offsets_that_do_not_cut_the_strings_are_refused(offsets: list[int]) -> None:
    """Whatever memory they would lead to."""
    data = np.frombuffer(b"abc", dtype=np.uint8)
    with pytest.raises(ValueError, match="offsets"):
        kernel.StringIdTable(np.array(offsets, dtype=np.uint64), data)


def test_strings_of_other_types_are_refused() -> None:
    offsets, data = encoded(["a"])
    table = kernel.StringIdTable(offsets, data)
    wrong: Any
    for wrong in ("a", ["a"], data, None):
        with pytest.raises(TypeError):
            table.rows_without(wrong)
        with pytest.raises(TypeError):
            kernel.split_strings_by_shard(wrong, 3)
    for wrong in (offsets.astype(np.int64), [0, 1]):
        with pytest.raises(TypeError, match="offsets: expected an array of uint64"):
            kernel.StringIdTable(wrong, data)


@pytest.mark.parametrize("count", [0, 1, 3_000])
@pytest.mark.parametrize("shards", [1, 3, 8, SLOTS])
@pytest.mark.parametrize("most", [3, 30])
def test_strings_are_split_as_they_are_placed(count: int, shards: int, most: int) -> None:
    """Each goes to its owner, in the order in which it came."""
    ids = strings(np.random.default_rng(count + most), count, most)
    owners = shards_of(np.array(ids, dtype=object), shards)
    wanted: list[list[str]] = [[] for _ in range(shards)]
    for value, owner in zip(ids, owners.tolist(), strict=True):
        wanted[owner].append(value)
    parts = kernel.split_strings_by_shard(joined(ids) + b"rest", shards)
    assert parts == [(joined(each), len(each)) for each in wanted]


@pytest.mark.parametrize("shards", [0, -1, SLOTS + 1])
def test_strings_too_have_no_more_shards_than_slots(shards: int) -> None:
    with pytest.raises(ValueError, match="shards"):
        kernel.split_strings_by_shard(b"a\0", shards)
