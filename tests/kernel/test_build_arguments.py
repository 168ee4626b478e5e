"""What the builder refuses, and how it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.kernel.builds import built, codes_of
from tests.kernel.pieces import floats

import fanlight_kernel as kernel

VECTORS = floats(1, 50, 6)


def builder(**changed: Any) -> kernel.Builder:
    """Make a builder, some of whose arguments are changed."""
    arguments: dict[str, Any] = {
        "metric": "l2",
        "codes": codes_of("l2", VECTORS),
        "dim": 6,
        "m": 4,
        "ef_construction": 20,
    }
    return kernel.Builder(**arguments | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "l1"}, "metric: expected cosine, dot or l2, got l1"),
        ({"codes": np.zeros((50, 63), np.uint8)}, r"codes: expected shape \(any, 64\)"),
        ({"codes": np.zeros((0, 64), np.uint8)}, "codes: rows: expected 1 to"),
        ({"dim": 0}, "dim: expected 1 to"),
        ({"m": 1}, "m: expected 2 to 1024, got 1"),
        ({"m": 1025}, "m: expected 2 to 1024, got 1025"),
        ({"ef_construction": 0}, "ef_construction: expected 1 to"),
        ({"base": (1, 2)}, "base: expected links, levels, upper, entry_point and top_level, got 2"),
    ],
)
def test_arguments_out_of_range(changed: dict[str, Any], message: str) -> None:
    """Errors name the argument, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        builder(**changed)


def test_arrays_of_other_types() -> None:
    """An array of another type is refused."""
    with pytest.raises(TypeError, match="codes: expected an array of uint8, got int8"):
        builder(codes=codes_of("l2", VECTORS).view(np.int8))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda base: base[0].__setitem__((3, 0), 9), "links: expected at most 8 neighbours"),
        (lambda base: base[0].__setitem__((3, 1), 40), "links: expected neighbours below 40"),
        (lambda base: base[1].__setitem__(3, 60), "upper: expected as many rows as the sum"),
        (lambda base: base[2].__setitem__((0, 1), 40), "upper: expected neighbours below 40"),
        (lambda base: base.__setitem__(0, base[0][:, :-1].copy()), "base: links: expected shape"),
        (lambda base: base.__setitem__(3, 40), "entry_point: expected a row below 40, got 40"),
        (lambda base: base.__setitem__(3, -1), "entry_point: expected 0 to"),
        (lambda base: base.__setitem__(4, base[4] + 1), "top_level: expected the level of"),
    ],
)
def test_a_damaged_base(damage: Any, message: str) -> None:
    """A base that would lead outside of its arrays is refused, with the place of the damage."""
    arrays = built("l2", VECTORS[:40], m=4)
    base = [arrays.links, arrays.levels, arrays.upper, arrays.entry_point, arrays.top_level]
    damage(base)
    with pytest.raises(ValueError, match=message):
        builder(base=tuple(base))


def test_a_base_with_more_rows_than_there_are() -> None:
    """A base must be a graph over the first rows of the codes."""
    arrays = built("l2", VECTORS, m=4)
    base = (arrays.links, arrays.levels, arrays.upper, arrays.entry_point, arrays.top_level)
    with pytest.raises(ValueError, match="base: rows: expected 1 to 40, got 50"):
        builder(codes=codes_of("l2", VECTORS[:40]), base=base)


def test_the_order_of_calls() -> None:
    """Rows are added up to the last one, once, and before the end."""
    unfinished = builder()
    with pytest.raises(ValueError, match="stop: expected 0 to 50, got 51"):
        unfinished.add(51, 1)
    with pytest.raises(ValueError, match="threads: expected 1 to 256, got 0"):
        unfinished.add(50, 0)
    unfinished.add(30, 2)
    unfinished.add(20, 1)
    assert len(unfinished) == 30
    with pytest.raises(RuntimeError, match="expected all 50 rows to be added, got 30"):
        unfinished.finish()
    unfinished.add(50, 1)
    unfinished.finish()
    with pytest.raises(RuntimeError, match="the builder is closed"):
        unfinished.finish()
    with pytest.raises(RuntimeError, match="the builder is closed"):
        unfinished.add(50, 1)
