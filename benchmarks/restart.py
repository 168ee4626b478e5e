"""Measure how long a shard server takes from the start of its process to its first answer.

It imports its libraries, opens the store, compares every checksum of the segment, maps it, and
finds that no change came later. The files are in the page cache, as they are when a process is
replaced on its machine; from a cold disk a start takes at least as long as reading the segment.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import fanlight
from fanlight.model import IdType
from machine import description
from shard_files import NAME, ShardFiles

_START_S = 120.0


def main() -> None:
    """Make a shard, start it again and again, and print how long that took."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        shard = ShardFiles(
            Path(scratch) / "data", arguments.rows, arguments.dim, IdType(arguments.id_type)
        )
        begun = time.perf_counter()
        shard.make()
        made_s = time.perf_counter() - begun
        segment = sum(path.stat().st_size for path in shard.folder.rglob("*.seg"))
        print(f"{arguments.rows:,} x {arguments.dim}, {arguments.id_type} ids, {description()}")
        print(f"made in {made_s:.0f} s, segment {segment / 1e9:.2f} GB")
        for vectors in ("ram", "mmap"):
            starts = [_first_answer_s(shard, vectors) for _ in range(arguments.starts)]
            rounded = {"vectors": vectors, "seconds": [round(s, 2) for s in starts]}
            print(json.dumps(rounded | {"median": round(statistics.median(starts), 2)}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--id-type", choices=[kind.value for kind in IdType], default="int64")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="for the data; about 4 KB an item of 384")
    return parser


def _first_answer_s(shard: ShardFiles, vectors: str) -> float:
    query = np.ones(shard.dim, dtype=np.float32)
    begun = time.perf_counter()
    with shard.serving(vectors) as process:
        deadline = time.monotonic() + _START_S
        process.await_address(deadline)
        process.await_serving(deadline)
        with fanlight.Client(process.address) as client:
            hits = client.collection(NAME).search(query, k=10, timeout=30)
        taken = time.perf_counter() - begun
        if hits.counts[0] != 10:
            raise AssertionError(f"expected 10 hits, got {hits.counts[0]}")
    return taken


if __name__ == "__main__":
    main()
