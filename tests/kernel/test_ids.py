"""Rows by id: those that are not among some ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fanlight_kernel as kernel

INT64 = np.iinfo(np.int64)
_Ids = NDArray[np.int64]
_Bytes = NDArray[np.uint8]


def kept_by_steps(ids: _Ids, rows: _Ids, gone: _Ids, width: int, *, high: bool) -> _Bytes:
    """Pack ids that are not empty, and look them up."""
    unsigned = gone.view(np.uint64)
    steps = unsigned[1:] - unsigned[:-1]
    above = steps >> np.uint64(8 * width)
    wide = above[above >= 255] if high else above[:0]
    return kernel.kept_rows_by_steps(
        ids,
        rows,
        int(gone[0]),
        steps.astype(f"u{width}"),
        np.minimum(above, 255).astype(np.uint8) if high else None,
        wide,
    )


@pytest.mark.parametrize("held", [0, 1, 7, 8, 9, 1_000])
@pytest.mark.parametrize("gone", [0, 1, 5, 1_000, 30_000])
@pytest.mark.parametrize("span", [1_200, 50_000, 2**62])
def test_rows_are_told_as_by_numpy(held: int, gone: int, span: int) -> None:
    """Few among many, many among few, with ids that stand several times."""
    rng = np.random.default_rng(held + gone)
    ids = rng.integers(-span, span, held)
    ids[: held // 3] = ids[held - held // 3 :]
    rows = np.argsort(ids, kind="stable")
    others = np.unique(np.concatenate([rng.integers(-span, span, gone), ids[: gone // 2 : 3]]))
    bits = kernel.kept_rows(ids[rows], rows, others)
    expected = np.packbits(~np.isin(ids, others), bitorder="little")
    np.testing.assert_array_equal(bits, expected)
    for width in (1, 2, 4) if len(others) else ():
        by_steps = kept_by_steps(ids[rows], rows, others, width, high=True)
        np.testing.assert_array_equal(by_steps, expected)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 512, 513, 5_000])
def test_steps_are_ids(width: int, count: int) -> None:
    """Of every width, with higher parts and without, in any number of blocks."""
    rng = np.random.default_rng(count)
    gone = np.cumsum(rng.integers(0, 1 << min(8 * width, 31), count))
    ids = np.sort(rng.choice(np.concatenate([gone, gone + 1]), 300))
    expected = np.packbits(~np.isin(ids, gone), bitorder="little")
    for high in (False, True):
        bits = kept_by_steps(ids, np.arange(300), gone, width, high=high)
        np.testing.assert_array_equal(bits, expected)


def test_steps_that_cannot_be_are_read_as_far_as_they_can() -> None:
    """Where a wide one is missing ids end; those past the greatest one are others, anywhere."""
    ids, none = np.arange(8), np.empty(0, dtype=np.uint64)
    low = np.ones(5, dtype=np.uint8)
    high = np.array([0, 0, 255, 0, 0], dtype=np.uint8)
    assert kernel.kept_rows_by_steps(ids, ids, 1, low, high, none).tolist() == [0b1111_0001]
    far = np.array([2**64 - 1], dtype=np.uint64)
    assert len(kernel.kept_rows_by_steps(ids, ids, 1, low, high, far)) == 1


def test_the_ends_of_int64_are_ids() -> None:
    ids = np.array([INT64.min, -1, 0, INT64.max])
    for gone in ([INT64.min], [INT64.max], [INT64.min, INT64.max], [-1, 0]):
        bits = kernel.kept_rows(ids, np.arange(4), np.array(gone))
        assert bits.tolist() == np.packbits(~np.isin(ids, gone), bitorder="little").tolist()


def test_rows_that_do_not_exist_are_refused() -> None:
    """As are columns of other types and lengths."""
    ids = np.arange(3)
    for row in (3, -1):
        with pytest.raises(ValueError, match=r"^rows: expected each of 0 to n - 1"):
            kernel.kept_rows(ids, np.array([0, 1, row]), ids)
    with pytest.raises(ValueError, match="rows: expected shape"):
        kernel.kept_rows(ids, np.arange(2), ids)
    narrow: Any = ids.astype(np.int32)
    with pytest.raises(TypeError, match="gone: expected an array of int64"):
        kernel.kept_rows(ids, ids, narrow)


def test_steps_of_other_types_and_lengths_are_refused() -> None:
    ids, none = np.arange(3), np.empty(0, dtype=np.uint64)
    low = np.ones(5, dtype=np.uint16)
    with pytest.raises(ValueError, match="rows: expected each"):
        kernel.kept_rows_by_steps(ids, np.array([0, 1, 3]), 0, low, None, none)
    with pytest.raises(ValueError, match="high: expected shape"):
        kernel.kept_rows_by_steps(ids, ids, 0, low, np.ones(4, dtype=np.uint8), none)
    signed: Any = low.astype(np.int16)
    with pytest.raises(TypeError, match="low: expected an array of uint16"):
        kernel.kept_rows_by_steps(ids, ids, 0, signed, None, none)
    long: Any = low.astype(np.uint64)
    with pytest.raises(TypeError, match="low: expected an array of uint32"):
        kernel.kept_rows_by_steps(ids, ids, 0, long, None, none)
    with pytest.raises(TypeError, match="wide: expected an array of uint64"):
        kernel.kept_rows_by_steps(ids, ids, 0, low, None, low)  # type: ignore[arg-type]
