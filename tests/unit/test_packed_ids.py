"""Packed ids are what numpy says they are, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanlight.errors import InvalidRequest
from fanlight.packed_ids import PackedIds, lie_close

INT64 = np.iinfo(np.int64)
# Both sides of what fits a step of each width.
ENDS = [(1 << bits) + more for bits in (8, 16, 32) for more in (-1, 0)]


def ascending(bits: int, far: list[int], first: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Draw 2,000 ids up to 2**bits apart, and between them some that are farther apart."""
    steps = np.random.default_rng(bits).integers(1, 1 << bits, 2_000).tolist()
    for at, step in enumerate(far):
        steps[at * 17] = step
    ids = [first]
    for step in steps:
        if ids[-1] + step > INT64.max:
            break
        ids.append(ids[-1] + step)
    return np.array(ids)


@given(
    st.sampled_from([1, 7, 8, 9, 15, 16, 20, 41]),
    st.lists(st.sampled_from([*ENDS, 1 << 61]), max_size=60),
    st.sampled_from([INT64.min, -1, 0, INT64.max - (1 << 55)]),
)
@example(8, [1 << 63], INT64.min)  # a step past int64
def test_what_was_packed_is_unpacked(bits: int, far: list[int], first: int) -> None:
    """In the fewest bytes that the format has for them, and it passes every check."""
    ids = ascending(bits, far, first)
    packed = PackedIds.of(ids)
    largest = max((b - a for a, b in pairwise(ids.tolist())), default=0)
    fitting = [width for width in (1, 2) if len(ids) >= 1_024 and largest < 1 << 8 * width]
    assert (None if packed is None else packed.width) == (fitting[0] if fitting else None)
    if packed is not None:
        packed.check("exclude_ids", len(ids))
        assert (len(packed), packed.nbytes) == (len(ids), (len(ids) - 1) * packed.width)
        np.testing.assert_array_equal(packed.unpacked(), ids)


@pytest.mark.parametrize("apart", [1, 3, 300])
def test_ids_of_a_catalogue_are_put_in_order_to_be_packed(apart: int) -> None:
    """A tenth of them at random, wherever they begin; few are not, nor those that are far apart."""
    rng = np.random.default_rng(apart)
    ids = rng.choice(40_000, 4_000, replace=False) * np.int64(apart)
    for first in (0, INT64.min, INT64.max - int(ids.max())):
        column = ids + np.int64(first)
        assert lie_close(column)
        assert PackedIds.of(np.sort(column)) is not None
        assert PackedIds.of(column) is None
        assert not lie_close(column[:1_000])
    assert not lie_close(ids * np.int64(1 << 20))
    assert not lie_close(np.append(ids, INT64.max))
    assert not lie_close(np.array([f"item {i}" for i in range(2_000)], dtype=object))


def test_the_last_id_fits_int64() -> None:
    fitting = PackedIds(INT64.max - 3, 1, b"\1\2")
    fitting.check("exclude_ids", 3)
    assert fitting.unpacked().tolist() == [INT64.max - 3, INT64.max - 2, INT64.max]
    with pytest.raises(InvalidRequest, match=f"ids that fit int64.*{INT64.max + 1}"):
        replace(fitting, first=INT64.max - 2).check("exclude_ids", 3)
