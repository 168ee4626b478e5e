"""Compute on paper what a measured run says about far more items and shards.

python benchmarks/paper.py results/RUN/run.json [--items 1e9] [--shards 1000] [--fanout 32]

Every number printed is a figure of the run, a straight line through such figures, or the
arithmetic of chances; nothing about networks or other machines is assumed. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tables.grid import Grid, milliseconds, rate
from tables.serving import split

# Where a second copy of a late request goes to another replica: the later, the fewer are sent.
_HEDGE_AT = 0.95
# Items, shards, and what each router of a tree has below it, unless told otherwise.
PAPER = (1_000_000_000, 1_000, 32)
_SHARES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Straight:
    """A straight line through measurements, by least squares.

    Costs do not fall with size: where noise says so, the line is level at their mean.
    """

    offset: float
    slope: float

    @classmethod
    def through(cls, xs: Sequence[float], ys: Sequence[float]) -> Straight:
        """Fit it."""
        slope, offset = np.polyfit(xs, ys, 1)
        return cls(float(offset), float(slope)) if slope > 0 else cls(float(np.mean(ys)), 0.0)

    def at(self, x: float) -> float:
        """Tell its height."""
        return self.offset + self.slope * x


@dataclass(frozen=True, slots=True)
class Tail:
    """How long one shard takes, as measured.

    Attributes:
        percentiles: pairs of percent and ms, ascending, the last one 100.
        calls: how many were measured.
    """

    percentiles: Sequence[tuple[float, float]]
    calls: int

    def at(self, share: float) -> float:
        """Tell the latency in ms that a share of calls does not exceed."""
        percents, times = zip(*self.percentiles, strict=True)
        return float(np.interp(100 * share, percents, times))

    def beyond(self, ms: float) -> float:
        """Tell the share of calls that take longer."""
        percents, times = zip(*self.percentiles, strict=True)
        return 1 - float(np.interp(ms, times, percents, left=0)) / 100

    def hedged_beyond(self, ms: float) -> float:
        """Tell the same when a second replica is asked after `_HEDGE_AT`, and the first wins."""
        after = self.at(_HEDGE_AT)
        return self.beyond(ms) * (self.beyond(ms - after) if ms > after else 1)

    def fan_out(self, shards: int, share: float, hedged: bool = False) -> float | None:
        """Tell the latency that a share of fan-outs to many shards does not exceed.

        A fan-out takes as long as its slowest shard; the shards are taken as independent.

        Returns:
            Milliseconds, or None when it is beyond the slowest call that was measured.
        """
        beyond = self.hedged_beyond if hedged else self.beyond
        allowed = 1 - share ** (1 / shards)
        low, high = 0.0, self.percentiles[-1][1]
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if beyond(middle) <= allowed else (middle, high)
        # Of a tail that fewer than one call stands for, nothing is known.
        return high if self.beyond(high) >= 1 / self.calls else None


@dataclass(frozen=True, slots=True)
class Scale:
    """What is computed for.

    Attributes:
        items: in all.
        shards: in all.
        fanout: of each router of a tree; shards below the lowest routers, routers below others.
    """

    items: int
    shards: int
    fanout: int

    @property
    def rows(self) -> int:
        """Tell the items of one shard."""
        return math.ceil(self.items / self.shards)

    @property
    def levels(self) -> list[int]:
        """Count the routers of each level of the tree, the root first."""
        found = [math.ceil(self.shards / self.fanout)]
        while found[0] > 1:
            found.insert(0, math.ceil(found[0] / self.fanout))
        return found


def grids(growth: dict[str, Any], scale: Scale) -> list[Grid]:
    """Compute the tables from the section "growth" of a run."""
    return [_costs(growth, scale), _chances(growth, scale)]


def _costs(growth: dict[str, Any], scale: Scale) -> Grid:
    memory = Straight.through(
        [r["rows"] for r in growth["items"]],
        [1e6 * r["servers_memory_mb"] for r in growth["items"]],
    )
    shard, router = shard_cpu(growth["items"]), router_cpu(growth["shards"])
    below = [math.ceil(width / of) for width, of in zip(_widths(scale), scale.levels, strict=True)]
    tree = sum(number * router.at(width) for number, width in zip(scale.levels, below, strict=True))
    path = sum(router.at(width) for width in below)
    shards = scale.shards * shard.at(math.log2(scale.rows))
    rows = [
        ["memory an item, bytes", f"{memory.slope:,.0f}"],
        ["memory of all, GB", f"{memory.slope * scale.items / 1e9:,.0f}"],
        ["memory of a shard, GB", f"{memory.slope * scale.rows / 1e9:.2f}"],
        [f"CPU ms a query in a shard of {scale.rows:,}", milliseconds(shards / scale.shards)],
        ["CPU ms a query in all shards", milliseconds(shards)],
        ["CPU ms a query in one router over all shards", milliseconds(router.at(scale.shards))],
        [f"routers of the tree, {scale.fanout} each", " + ".join(map(str, scale.levels))],
        ["CPU ms a query in all routers of the tree", milliseconds(tree)],
        ["CPU ms a query in the routers from root to shard", milliseconds(path)],
        ["queries/s of one router over all shards", rate(1e3 / router.at(scale.shards))],
        ["queries/s of the tree's root", rate(1e3 / router.at(below[0]))],
        ["cores for 1,000 queries/s", rate(shards + tree)],
    ]
    largest = max(record["rows"] for record in growth["items"])
    return Grid(
        f"{scale.items:,} items of {growth['items'][0]['dim']} dimensions on {scale.shards:,} shards",
        ["", "on paper"],
        rows,
        f"From lines through what was measured with up to {largest:,} items and "
        f"{max(r['shards'] for r in growth['shards'])} shards: memory over items, CPU of a shard "
        "over the logarithm of its items, CPU of a router over shards.",
    )


def _widths(scale: Scale) -> list[int]:
    return [*scale.levels[1:], scale.shards]


def shard_cpu(records: Sequence[dict[str, Any]]) -> Straight:
    """Fit the CPU ms of a query in one shard over the logarithm (base 2) of its items."""
    xs = [math.log2(record["rows"] / record["shards"]) for record in records]
    return Straight.through(xs, [_cost(r, "shards") / r["shards"] for r in records])


def router_cpu(records: Sequence[dict[str, Any]]) -> Straight:
    """Fit the CPU ms of a query in a router over its shards."""
    return Straight.through([r["shards"] for r in records], [_cost(r, "router") for r in records])


def _cost(record: dict[str, Any], part: str) -> float:
    return split(record["peak"]["cpu_ms_per_query"])[part]


def _chances(growth: dict[str, Any], scale: Scale) -> Grid:
    alone = growth["shard_alone"]
    tail = Tail([(p, ms) for p, ms in alone["percentiles"]], alone["calls"])
    rows = [
        [
            f"{100 * share:g}",
            milliseconds(tail.at(share)),
            f"{100 * (1 - share**scale.shards):.4g} %",
            _known(tail.fan_out(scale.shards, share), tail),
            _known(tail.fan_out(scale.shards, share, hedged=True), tail),
        ]
        for share in _SHARES
    ]
    return Grid(
        f"The slowest of {scale.shards:,} shards: latency in ms",
        [
            "percentile",
            "one shard",
            "fan-outs with a shard slower than that",
            "fan-out",
            f"fan-out, hedged after p{100 * _HEDGE_AT:g}",
        ],
        rows,
        f"From {tail.calls:,} calls to one shard at half of its peak; shards taken as "
        f"independent. Hedging asks a second replica for {100 * (1 - _HEDGE_AT):.0f} % of calls.",
    )


def _known(ms: float | None, tail: Tail) -> str:
    return f"not known (> {milliseconds(tail.at(1))})" if ms is None else milliseconds(ms)


def main() -> None:
    """Print the tables for a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    for name, default in zip(("--items", "--shards", "--fanout"), PAPER, strict=True):
        parser.add_argument(name, type=float, default=default)
    arguments = parser.parse_args()
    scale = Scale(int(arguments.items), int(arguments.shards), int(arguments.fanout))
    growth = json.loads(arguments.file.read_text())["sections"]["growth"]
    print("\n".join(grid.markdown() for grid in grids(growth, scale)))


if __name__ == "__main__":
    main()
