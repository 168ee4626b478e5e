"""Measure the memory that an item takes in a shard server, beside a bare hnswlib index.

Both are measured twice, with few rows and with many, and the difference is divided by the
difference in rows: what a process takes without items cancels out. "anonymous" is memory that
only swap could free. "resident" adds the pages of segment files that are mapped in, which the
system takes back when it needs them. A shard is looked at when it has answered one query, after
many (which map the vectors that they read), and some seconds later.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import fanlight
from machine import description
from shard_files import NAME, ShardFiles

_FEW_ROWS = 10_000
_START_S = 120.0
# A shard gives back the pages of mapped vectors every 10 s.
_LATER_S = 12.0
# Kilobytes by kind, e.g. {"Rss": 1234, "Anonymous": 567}.
Memory = dict[str, int]


def main() -> None:
    """Measure, and print a table."""
    arguments = _parser().parse_args()
    if arguments.hnswlib:
        _report_hnswlib(arguments.rows, arguments.dim)
        return
    rows, dim = arguments.rows, arguments.dim
    print(f"{rows:,} x {dim}, m=16, {description()}; bytes an item")
    bare = _an_item(partial(_bare, dim), rows)[0]
    print(f"{'hnswlib':32s} resident {bare['Rss']:7.0f}")
    for vectors in ("ram", "mmap"):
        phases = _an_item(partial(_served, dim, vectors, arguments.queries), rows)
        for phase, memory in zip(("started", "searched", "later"), phases, strict=True):
            share = memory["Rss"] / bare["Rss"]
            print(
                f"{f'fanlight, vectors: {vectors}, {phase}':32s} resident {memory['Rss']:7.0f}"
                f"  anonymous {memory['Anonymous']:7.0f}  resident / hnswlib {share:.2f}"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=1_000, help="before memory is read again")
    parser.add_argument("--hnswlib", action="store_true", help=argparse.SUPPRESS)
    return parser


def _an_item(measure: Callable[[int], list[Memory]], rows: int) -> list[dict[str, float]]:
    """Divide what more rows take by their number: for each phase, bytes an item by kind."""
    few, many = measure(_FEW_ROWS), measure(rows)
    return [
        {kind: 1024 * (b[kind] - a[kind]) / (rows - _FEW_ROWS) for kind in b}
        for a, b in zip(few, many, strict=True)
    ]


def _memory_of(pid: int) -> Memory:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = (line.split() for line in text.splitlines()[1:])
    return {name.rstrip(":"): int(size) for name, size, *_ in fields}


def _served(dim: int, vectors: str, queries: int, rows: int) -> list[Memory]:
    """Serve a shard: its memory when it has answered once, after more searches, and later."""
    with tempfile.TemporaryDirectory() as scratch:
        shard = ShardFiles(Path(scratch) / "data", rows, dim)
        shard.make()
        with shard.serving(vectors) as process:
            deadline = time.monotonic() + _START_S
            process.await_address(deadline)
            process.await_serving(deadline)
            with fanlight.Client(process.address) as client:
                items = client.collection(NAME)
                asked = np.random.default_rng(1).standard_normal((queries, dim), dtype=np.float32)
                items.search(asked[:1], k=10)
                started = _memory_of(process.pid)
                items.search(asked, k=10, timeout=60)
                searched = _memory_of(process.pid)
                time.sleep(_LATER_S)
                return [started, searched, _memory_of(process.pid)]


def _bare(dim: int, rows: int) -> list[Memory]:
    """Let a process of its own build an index, and give its memory."""
    command = [sys.executable, __file__, "--hnswlib", "--rows", str(rows), "--dim", str(dim)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [{"Rss": int(told[0]), "Anonymous": int(told[1])}]


def _report_hnswlib(rows: int, dim: int) -> None:
    import os

    import hnswlib

    index = hnswlib.Index("cosine", dim)
    index.init_index(rows, M=16, ef_construction=16)
    for start, vectors in ShardFiles(Path(), rows, dim).batches():
        index.add_items(vectors, np.arange(start, start + len(vectors)))
    memory = _memory_of(os.getpid())
    print(memory["Rss"], memory["Anonymous"])


if __name__ == "__main__":
    main()
