"""Measure what rows without a graph, in blocks, cost a search of the kernel beside a graph.

A shard that is written to has a large graph, a small one, and the newest rows in blocks; see
docs/adr/0024. Each line is one view of the same vectors but for the last ones; one thread searches,
as many queries a call as a shard gets in a message. Views are searched in turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

import fanlight_kernel as kernel
from arguments import add_vectors, work_of
from machine import description
from workload import Answers, Floats, Workload

_K = 10
_M, _EF_CONSTRUCTION = 16, 200


def main() -> None:
    """Build the graphs, and print a line for each view."""
    arguments = _parser().parse_args()
    work = work_of(arguments)
    large = len(work.base) - arguments.small - arguments.newest
    known = large + arguments.small
    print(f"{work.name}, {large:,} + {arguments.small:,} rows with a graph; {description()}")
    print(f"{arguments.newest} rows without, {arguments.at_once} queries a call, ef {arguments.ef}")
    first = _graph(work.base, 0, large)
    small = _graph(work.base, large, known)
    views: dict[str, Sequence[kernel.Rows | kernel.Graph]] = {
        "the large graph": [first],
        "and the small one": [first, small],
    }
    for n in arguments.blocks:
        ends = np.linspace(known, len(work.base), n + 1).astype(int).tolist()
        blocks = [_rows(work.base, a, b)[0] for a, b in pairwise(ends)]
        views[f"and the rest in {n}"] = [first, small, *blocks]
    _measure(work, {name: kernel.Parts(parts) for name, parts in views.items()}, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_vectors(parser)
    parser.add_argument("--small", type=int, default=1_660, help="rows of the small graph")
    parser.add_argument("--newest", type=int, default=440, help="rows without a graph")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--at-once", type=int, default=12, help="queries of a call")
    parser.add_argument("--ef", type=int, default=55)
    parser.add_argument("--rounds", type=int, default=15)
    parser.set_defaults(seed=0)
    return parser


def _rows(
    vectors: Floats, first: int, end: int
) -> tuple[kernel.Rows, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Give some rows, and their codes."""
    own = np.ascontiguousarray(vectors[first:end])
    lengths = kernel.lengths(own)
    codes = kernel.encode("cosine", own, lengths)
    return kernel.Rows("cosine", own, lengths, np.arange(first, end), codes), codes


def _graph(vectors: Floats, first: int, end: int) -> kernel.Graph:
    rows, codes = _rows(vectors, first, end)
    builder = kernel.Builder("cosine", codes, vectors.shape[1], _M, _EF_CONSTRUCTION)
    builder.add(len(codes), 2)
    return kernel.Graph(rows, *builder.finish())


def _measure(work: Workload, views: dict[str, kernel.Parts], arguments: argparse.Namespace) -> None:
    answers = Answers.of(work, _K)
    seconds: dict[str, list[float]] = {name: [] for name in views}
    found: dict[str, list[np.ndarray[tuple[int, int], np.dtype[np.int64]]]] = {}
    size, n = arguments.at_once, len(work.queries)
    for _ in range(arguments.rounds):
        for name, parts in views.items():
            started = time.perf_counter()
            found[name] = [
                parts.search(work.queries[at : at + size], _K, arguments.ef, None).rows
                for at in range(0, n, size)
            ]
            seconds[name].append(time.perf_counter() - started)
    for name, view in views.items():
        recall = answers.recall(np.concatenate(found[name]))
        told = f"recall@{_K} {recall:.4f}" if len(view) == len(work.base) else ""
        print(f"{name:20} {statistics.median(seconds[name]) / n * 1e6:5.0f} us a query  {told}")


if __name__ == "__main__":
    main()
