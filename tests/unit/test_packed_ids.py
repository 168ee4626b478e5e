"""Packed ids are what numpy says they are, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanlight.errors import InvalidRequest
from fanlight.packed_ids import PackedIds

INT64 = np.iinfo(np.int64)
WIDTHS = {1: (1, 0), 2: (2, 0), 3: (2, 1), 4: (4, 0), 5: (4, 1)}
# 255 in the highest byte is wide where there is a byte above, so both sides of it.
ENDS = [(255 << bits) + more for bits in (0, 8, 16, 32) for more in (-1, 0, 1)]


def ascending(bits: int, far: list[int], first: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Draw 2,000 ids up to 2**bits apart, and between them some that are farther apart."""
    steps = np.random.default_rng(bits).integers(1, 1 << bits, 2_000, endpoint=True).tolist()
    for at, step in enumerate(far):
        steps[at * 17] = step
    ids = [first]
    for step in steps:
        if ids[-1] + step > INT64.max:
            break
        ids.append(ids[-1] + step)
    return np.array(ids)


@given(
    st.sampled_from([1, 7, 8, 9, 15, 16, 20, 24, 25, 31, 32, 38, 41]),
    st.lists(st.sampled_from([*ENDS, 1 << 40, 1 << 61]), max_size=60),
    st.sampled_from([INT64.min, -1, 0, INT64.max - (1 << 55)]),
)
@example(8, [1 << 63], INT64.min)  # a step past int64
@example(20, [255 << 16], 0)  # the least that is wide
@example(36, [255 << 32], 0)
@example(16, [300 << 16] * 60, 0)  # more wide steps than pay
@example(32, [300 << 32] * 60, 0)
def test_what_was_packed_is_unpacked(bits: int, far: list[int], first: int) -> None:
    """In the fewest bytes that the format has for them, and it passes every check."""
    ids = ascending(bits, far, first)
    packed = PackedIds.of(ids)
    steps = [b - a for a, b in zip(ids.tolist()[:-1], ids.tolist()[1:], strict=True)]
    fitting = [w for w in WIDTHS if len(ids) >= 1_024 and fits(steps, *WIDTHS[w])]
    assert (None if packed is None else packed.width) == (fitting[0] if fitting else None)
    if packed is not None:
        packed.check("exclude_ids", len(ids))
        np.testing.assert_array_equal(packed.unpacked(), ids)
        assert len(packed.wide) == 8 * wide_of(steps, *WIDTHS[packed.width])


def wide_of(steps: list[int], lower: int, above: int) -> int:
    return sum(above and step >> 8 * lower >= 255 for step in steps)


def fits(steps: list[int], lower: int, above: int) -> bool:
    if not above:
        return max(steps) < 1 << 8 * lower
    return 64 * wide_of(steps, lower, above) <= len(steps)


def test_a_sixty_fourth_may_be_wide_wherever_that_is() -> None:
    """31 of 2,000 steps, not 32, though these are a quarter of the first of them."""
    for n_wide in (31, 32):
        steps = [255 << 32] * n_wide + [1 << 36] * (2_000 - n_wide)
        for order in (steps, steps[::-1]):
            packed = PackedIds.of(np.cumsum([0, *order]))
            assert (packed is not None) is (n_wide == 31)


@pytest.mark.parametrize("width", [3, 5])
@pytest.mark.parametrize("n_wide", [0, 1, 31])
def test_as_many_are_wide_as_are_marked(width: int, n_wide: int) -> None:
    """One more or less is refused, as is a part of one."""
    lower = 8 * WIDTHS[width][0]
    packed = PackedIds.of(ascending(lower + 4, [256 << lower] * n_wide, 0))
    assert packed is not None
    assert (packed.width, len(packed.wide)) == (width, 8 * n_wide)
    packed.check("exclude_ids", len(packed))
    for wide in (packed.wide + bytes(8), packed.wide[8:] or bytes(1), packed.wide + b"\0"):
        with pytest.raises(InvalidRequest, match=f"8 bytes for {n_wide} wide steps"):
            replace(packed, wide=wide).check("exclude_ids", len(packed))


@pytest.mark.parametrize("width", [1, 2, 4])
def test_what_is_not_above_is_not_wide(width: int) -> None:
    packed = PackedIds(0, width, bytes(width))
    packed.check("exclude_ids", 2)
    for other in (replace(packed, wide=bytes(8)), replace(packed, high=b"\xff", wide=bytes(8))):
        with pytest.raises(InvalidRequest, match="exclude_ids"):
            other.check("exclude_ids", 2)


def test_the_last_id_fits_int64() -> None:
    """A wide step may take it past the end, whatever its lower part."""
    step = (1 << 63) - 1
    fitting = PackedIds(0, 3, b"\xff\xff", b"\xff", (step >> 16).to_bytes(8, "little"))
    fitting.check("exclude_ids", 2)
    assert fitting.unpacked().tolist() == [0, step]
    with pytest.raises(InvalidRequest, match=f"ids that fit int64.*{step + 1}"):
        replace(fitting, first=1).check("exclude_ids", 2)
