"""Measure filters by category: items of one category, wanted by what is known of another.

Each of Fashion-MNIST's ten kinds of images is asked for with the test images of each other kind,
beside the same search without a filter, in turns. So allowed rows are a tenth of all, none of which
is near a query. One query a call, and all queries of a pair in one call; answers are compared with
brute force.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from arguments import DATA
from fanlight import field
from fanlight.model import SearchRequest
from fanlight_server.collection import Collection
from fanlight_server.index.settings import SearchConfig
from machine import description
from one_shard import Asked, cosines, opened, recall_among
from workload import Floats, fashion_mnist

_KINDS = 10


@dataclass(frozen=True, slots=True)
class Pair:
    """What it costs to ask for one kind with images of another, and what is found.

    Attributes:
        wanted: the kind that is allowed.
        known: that of the queries.
        recall: share of the true neighbours that were found.
        times: the time of one query a call over that without the filter.
        batch_times: of all of them in one call, likewise.
    """

    wanted: int
    known: int
    recall: float
    times: float
    batch_times: float


def main() -> None:
    """Run the benchmark."""
    arguments = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    if DATA not in os.environ:
        raise SystemExit(f"expected the folder of data sets in {DATA}")
    data = Path(os.environ[DATA])
    work = fashion_mnist(data)
    labels = np.load(data / "fashion_mnist" / "base_labels.npy")
    kinds = np.load(data / "fashion_mnist" / "query_labels.npy")
    console.print(f"{work.name}: {len(work.base):,} x {work.dim}; {description()}")
    with tempfile.TemporaryDirectory() as temporary:
        collection = opened(work, arguments.folder or Path(temporary), {"label": labels})
        scores = cosines(work.queries, work.base)
        pairs = list(measure(collection, work.queries, scores, labels, kinds, arguments))
        collection.close()
    show(pairs, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--k", type=int, default=10, help="hits of a query")
    add("--ef", type=int, default=SearchConfig().ef_search_default, help="candidates of a walk")
    add("--rounds", type=int, default=5, help="turns of each measurement")
    add("--folder", type=Path, help="keep the built shard there, or use the one kept")
    return parser


def measure(
    collection: Collection,
    queries: Floats,
    scores: NDArray[np.float64],
    labels: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    arguments: argparse.Namespace,
) -> Iterator[Pair]:
    """Measure every pair of two kinds.

    Args:
        collection: with the field `label`.
        queries: (q, dim).
        scores: (q, rows) of each query with each row.
        labels: (rows,) the kind of each.
        kinds: (q,) that of each query.
        arguments: k, ef and rounds.
    """
    for wanted, known in itertools.permutations(range(_KINDS), 2):
        asking = np.flatnonzero(kinds == known)
        some = queries[asking]
        request = SearchRequest("bench", some, arguments.k, ef_search=arguments.ef)
        asked = Asked(collection, request, field("label") == wanted)
        found = asked.search(some, filtered=True)
        allowed = np.where(labels == wanted, scores[asking], -np.inf)
        times, _ = asked.times(some[:, None], arguments.rounds)
        batch, _ = asked.times(some[None], 4 * arguments.rounds)
        yield Pair(wanted, known, recall_among(found, allowed, arguments.k), times, batch)


def show(pairs: list[Pair], console: Console) -> None:
    """Print the mean of all pairs, and the dearest and the worst of them."""
    table = Table("pairs", "recall", "times", "in batches")
    recall, times, batch = np.array([(p.recall, p.times, p.batch_times) for p in pairs]).T
    for name, each in (
        ("mean", [column.mean() for column in (recall, times, batch)]),
        ("median", [np.median(column) for column in (recall, times, batch)]),
        ("worst of each", [recall.min(), times.max(), batch.max()]),
    ):
        table.add_row(name, f"{each[0]:.4f}", *(f"{ratio:.2f}" for ratio in each[1:]))
    console.print(table)


if __name__ == "__main__":
    main()
