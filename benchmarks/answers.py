"""Compare a cluster's answers with the exact ones: recall of the index, equality of `exact=True`.

The oracle compares every query with every vector in float64 and orders equal float32 scores by id.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from arguments import DATA
from contenders.contract import Setup
from contenders.fanlight_cluster import FanlightCluster
from machine import description
from workload import LOADERS, Answers, Floats, Ids


def main() -> None:
    """Load a data set into a cluster and print how its answers compare."""
    arguments = _parser().parse_args()
    work = LOADERS[arguments.data](Path(os.environ[DATA]))
    answers = Answers.of(work, arguments.k)
    with tempfile.TemporaryDirectory() as scratch:
        cluster = FanlightCluster(
            Setup(
                folder=Path(scratch) / "data",
                shards=arguments.shards,
                dim=work.dim,
                m=arguments.m,
                ef_construction=arguments.ef_construction,
            )
        )
        try:
            cluster.load(work.base)
            for ef in arguments.ef_search:
                found = cluster.search(work.queries, arguments.k, ef)
                _print(answer="index", ef_search=ef, recall=round(answers.recall(found), 4))
            equal = _rows_equal(cluster, work.queries, answers.ids)
            _print(answer="exact", equal=equal, of=len(work.queries))
        finally:
            cluster.close()
    print(f"{work.name}, {arguments.shards} shards, {description()}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", choices=LOADERS, default="fashion_mnist", help=f"folder of {DATA}")
    add("--shards", type=int, default=3)
    add("--m", type=int, default=16)
    add("--ef-construction", type=int, default=200)
    add("--ef-search", type=int, nargs="+", default=[32, 64, 128])
    add("--k", type=int, default=10)
    return parser


def _rows_equal(cluster: FanlightCluster, queries: Floats, truth: Ids) -> int:
    found = cluster.search_exactly(queries, truth.shape[1])
    return int(np.all(found == truth, axis=1).sum())


def _print(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
