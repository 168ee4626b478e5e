"""Measure how fast the kernel builds graphs, beside `hnswlib.add_items`, and the recall in both.

Both get the same vectors of unit length, m and ef_construction, and build in turn, round after
round; ratios are medians of the rounds. Time is wall time; with --cpu it is processor time of one
thread, which other programs on the machine disturb less. The kernel's time includes the codes,
which a shard makes anyway for its searches; what they take is told apart.

Some vectors are left out of the graphs and serve as queries. Both graphs are searched twice: by
hnswlib itself, which the kernel's arrays are loaded into, and by the kernel's walk over codes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

import fanlight_kernel as kernel
from arguments import add_vectors, work_of
from machine import description
from workload import Answers, Floats, Workload

_K = 10
_EFS = (16, 32, 64, 128)
_Arrays = tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint32], int, int]
_Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Job:
    """What is built, and how.

    Attributes:
        vectors: (n, dim) float32 of unit length.
        m: neighbours, twice as many on the lowest level.
        ef_construction: candidates.
        threads: that build.
        clock: that times them.
    """

    vectors: Floats
    m: int
    ef_construction: int
    threads: int
    clock: _Clock

    def by_hnswlib(self, seed: int) -> tuple[float, Any]:
        """Build; give the seconds and the index."""
        index = self._empty(len(self.vectors), seed)
        started = self.clock()
        index.add_items(self.vectors, np.arange(len(self.vectors)), num_threads=self.threads)
        return self.clock() - started, index

    def by_kernel(self, seed: int) -> tuple[float, float, _Arrays]:
        """Build; give the seconds, those of them that codes took, and the graph."""
        started = self.clock()
        codes = kernel.encode("cosine", self.vectors, kernel.lengths(self.vectors))
        encoded = self.clock()
        dim = self.vectors.shape[1]
        builder = kernel.Builder("cosine", codes, dim, self.m, self.ef_construction, seed=seed)
        builder.add(len(codes), self.threads)
        arrays = builder.finish()
        return self.clock() - started, encoded - started, arrays

    def loaded(self, arrays: _Arrays) -> Any:
        """Give hnswlib a graph."""
        links, levels, upper, entry_point, top_level = arrays
        rows = np.arange(len(levels))
        nodes = np.empty(len(levels), dtype=self._node())
        nodes["links"], nodes["vector"], nodes["label"] = links, self.vectors, rows
        state = self._empty(1, 0).__getstate__()[0] | {
            "max_elements": len(levels),
            "cur_element_count": len(levels),
            "ep_added": True,
            "max_level": top_level,
            "enterpoint_node": entry_point,
            "label_lookup_external": rows.astype(np.uint64),
            "label_lookup_internal": rows.astype(np.uint32),
            "element_levels": levels.astype(np.int32),
            "data_level0": nodes.view(np.int8),
            "link_lists": upper.reshape(-1).view(np.int8),
        }
        return hnswlib.Index(state)

    def taken_apart(self, index: Any) -> _Arrays:
        """Take hnswlib's graph; its nodes are in the order in which threads took the rows."""
        state = index.__getstate__()[0]
        nodes = state["data_level0"].view(self._node())
        levels = state["element_levels"].astype(np.uint8)
        upper = state["link_lists"].view(np.uint32).reshape(-1, 1 + self.m)
        links = np.ascontiguousarray(nodes["links"])
        return links, levels, upper, state["enterpoint_node"], state["max_level"]

    def order_of(self, index: Any) -> NDArray[np.int64]:
        """Tell the row of each node of hnswlib's graph."""
        nodes = index.__getstate__()[0]["data_level0"].view(self._node())
        return np.ascontiguousarray(nodes["label"]).astype(np.int64)

    def _empty(self, capacity: int, seed: int) -> Any:
        index = hnswlib.Index("ip", self.vectors.shape[1])
        index.init_index(
            capacity, M=self.m, ef_construction=self.ef_construction, random_seed=100 + seed
        )
        return index

    def _node(self) -> np.dtype[Any]:
        dim = self.vectors.shape[1]
        return np.dtype(
            [("links", "<u4", (1 + 2 * self.m,)), ("vector", "<f4", (dim,)), ("label", "<u8")]
        )


@dataclass(slots=True)
class Side:
    """What was measured of one builder: rows/s, and recall by searcher and ef, of each round."""

    speeds: list[float] = field(default_factory=list)
    recalls: dict[str, list[list[float]]] = field(default_factory=dict)

    def tell(self, name: str) -> None:
        """Print a line for each searcher."""
        print(f"{name:8s} {np.median(self.speeds):9,.0f} rows/s")
        for searcher, rounds in self.recalls.items():
            means = "  ".join(f"{mean:.4f}" for mean in np.mean(rounds, axis=0))
            print(f"{'':8s} searched by {searcher:8s} {means}")


def main() -> None:
    """Measure, and print a table."""
    arguments = _parser().parse_args()
    work, answers = _parted(work_of(arguments), arguments.queries)
    clock = time.process_time if arguments.cpu else time.perf_counter
    threads = 1 if arguments.cpu else arguments.threads
    job = Job(work.base, arguments.m, arguments.ef_construction, threads, clock)
    kind = "processor time" if arguments.cpu else "wall time"
    print(
        f"{work.name}, {len(work.base):,} x {work.dim}, {threads} threads, {kind}, {description()}"
    )
    theirs, ours, encoding = Side(), Side(), []
    for seed in range(arguments.rounds):
        _measure_hnswlib(job, answers, seed, theirs)
        encoding.append(_measure_kernel(job, answers, seed, ours))
    print(f"recall@{_K} of {len(work.queries):,} queries at ef {_EFS}, means of the rounds")
    theirs.tell("hnswlib")
    ours.tell("kernel")
    ratios = np.array(ours.speeds) / np.array(theirs.speeds)
    print(f"kernel / hnswlib: {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")
    print(f"codes took {np.median(encoding):.0%} of the kernel's time")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add_vectors(parser)
    parser.add_argument("--queries", type=int, default=1_000, help="vectors left out of the graphs")
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--ef-construction", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.set_defaults(seed=0)
    return parser


def _parted(work: Workload, queries: int) -> tuple[Workload, Answers]:
    """Leave some vectors out as queries, and compute the answers."""
    unit = work.base / np.linalg.norm(work.base, axis=1, keepdims=True)
    out = np.random.default_rng(0).permutation(len(unit))[:queries]
    rest = np.ascontiguousarray(np.delete(unit, out, axis=0), dtype=np.float32)
    parted = Workload(work.name, rest, np.ascontiguousarray(unit[out], dtype=np.float32))
    return parted, Answers.of(parted, _K)


def _measure_hnswlib(job: Job, answers: Answers, seed: int, side: Side) -> None:
    took, index = job.by_hnswlib(seed)
    side.speeds.append(len(job.vectors) / took)
    _search(job, answers, index, job.taken_apart(index), job.order_of(index), side)


def _measure_kernel(job: Job, answers: Answers, seed: int, side: Side) -> float:
    """Measure; give the share of the time that codes took."""
    took, encoding, arrays = job.by_kernel(seed)
    side.speeds.append(len(job.vectors) / took)
    _search(job, answers, job.loaded(arrays), arrays, np.arange(len(job.vectors)), side)
    return encoding / took


def _search(
    job: Job,
    answers: Answers,
    index: Any,
    arrays: _Arrays,
    order: NDArray[np.int64],
    side: Side,
) -> None:
    queries, vectors = answers.work.queries, np.ascontiguousarray(job.vectors[order])
    lengths = kernel.lengths(vectors)
    codes = kernel.encode("cosine", vectors, lengths)
    graph = kernel.Graph(kernel.Rows("cosine", vectors, lengths, None, codes), *arrays)
    by_hnswlib, by_kernel = [], []
    for ef in _EFS:
        index.set_ef(ef)
        by_hnswlib.append(answers.recall(index.knn_query(queries, _K)[0].astype(np.int64)))
        by_kernel.append(answers.recall(order[graph.search(queries, _K, ef).rows]))
    side.recalls.setdefault("hnswlib", []).append(by_hnswlib)
    side.recalls.setdefault("kernel", []).append(by_kernel)


if __name__ == "__main__":
    main()
