"""Measure what excluding many ids costs, through a client, a router and shards of a local cluster.

Each search is asked without exclusions, with other `exclude_ids` each time, in no order, and with a
set of as many ids that the servers hold; in turns, so that other programs on the machine meet all
three.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig
from machine import description
from workload import Floats

Numbers: TypeAlias = NDArray[np.int64]
# Queries of a search, and hits of each.
SEARCHES = ((1, 100), (1, 1_000), (16, 100), (64, 1_000))
_BUILT_S = 600.0


def main() -> None:
    """Load vectors into a cluster and print a row for each search."""
    arguments = _parser().parse_args()
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        shape = ClusterShape(shards=arguments.shards, port=0, data=Path(folder) / "data")
        with (
            LocalCluster(LocalConfig(cluster=shape)) as cluster,
            fanlight.Client(cluster.address, timeout=60) as client,
        ):
            items = _loaded(client, arguments, rng)
            print(
                f"{arguments.rows:,} x {arguments.dim}, {arguments.shards} shards, "
                f"{arguments.ids:,} excluded ids of which {_excluded(arguments):,} are items, "
                f"{'strings' if arguments.strings else f'{arguments.apart:,} apart at least'}; "
                f"{description()}"
            )
            for queries, k in SEARCHES:
                _measure(items, arguments, rng, queries, k)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--rows", type=int, default=60_000)
    add("--dim", type=int, default=64)
    add("--shards", type=int, default=3)
    add("--ids", type=int, default=100_000, help="excluded; a quarter of them are items")
    add("--strings", action="store_true", help="ids are strings of 13 characters")
    add("--apart", type=int, default=1, help="multiply ids; from 2,000 on they travel as they are")
    add("--rounds", type=int, default=21)
    add("--seed", type=int, default=5)
    return parser


def _excluded(arguments: argparse.Namespace) -> int:
    return int(min(arguments.ids // 4, arguments.rows))


def _loaded(
    client: fanlight.Client, arguments: argparse.Namespace, rng: np.random.Generator
) -> fanlight.Collection:
    id_type = "string" if arguments.strings else "int64"
    items = client.create_collection("bench", dim=arguments.dim, id_type=id_type)
    vectors = rng.standard_normal((arguments.rows, arguments.dim), dtype=np.float32)
    items.upsert(_as_ids(np.arange(arguments.rows), arguments), vectors)
    deadline = time.monotonic() + _BUILT_S
    while client.get_collection("bench").unindexed_items:
        if time.monotonic() > deadline:
            raise SystemExit("the graphs were not built in time")
        time.sleep(0.2)
    started = time.monotonic()
    items.sets.append("seen", _ids(arguments, rng))
    print(f"a set of {arguments.ids:,} ids took {time.monotonic() - started:.2f} s to append")
    return items


def _as_ids(numbers: Numbers, arguments: argparse.Namespace) -> list[str] | Numbers:
    if arguments.strings:
        return [f"item-{number:08}" for number in numbers.tolist()]
    return numbers * np.int64(arguments.apart)


def _ids(arguments: argparse.Namespace, rng: np.random.Generator) -> list[str] | Numbers:
    """Draw ids of which a quarter are items, in no order."""
    n, rows = _excluded(arguments), arguments.rows
    stored = rng.choice(rows, n, replace=False)
    others = rows + rng.choice(2 * arguments.ids, arguments.ids - n, replace=False)
    return _as_ids(rng.permutation(np.concatenate([stored, others])), arguments)


def _measure(
    items: fanlight.Collection,
    arguments: argparse.Namespace,
    rng: np.random.Generator,
    queries: int,
    k: int,
) -> None:
    n = _excluded(arguments)
    times: dict[str, list[float]] = {"without": [], "ids": [], "set": []}
    for _ in range(arguments.rounds):
        asked = rng.standard_normal((queries, arguments.dim), dtype=np.float32)
        drawn = _ids(arguments, rng)
        ways: dict[str, Callable[[Floats], fanlight.Hits]] = {
            "without": lambda q: items.search(q, k=k),
            "ids": lambda q, s=drawn: items.search(q, k=k, exclude_ids=s),  # type: ignore[misc]
            "set": lambda q: items.search(q, k=k, exclude_sets=["seen"]),
        }
        for name, ask in ways.items():
            started = time.perf_counter()
            hits = ask(asked)
            times[name].append((time.perf_counter() - started) * 1_000)
            if name != "without" and hits.excluded != n:
                raise SystemExit(f"{hits.excluded} were excluded, not {n}")
    plain, *others = (statistics.median(times[name]) for name in ("without", "ids", "set"))
    told = ", ".join(
        f"{name} {took:.1f} ms ({took / plain:.1f} x)"
        for name, took in zip(("exclude_ids", "set"), others, strict=True)
    )
    print(f"{queries} queries, k = {k:,}: {plain:.1f} ms without, {told}", flush=True)


if __name__ == "__main__":
    main()
