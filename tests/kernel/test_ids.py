"""Rows by id: those that are not among some ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fanlight_kernel as kernel

INT64 = np.iinfo(np.int64)


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
