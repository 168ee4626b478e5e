"""What a run is asked on the command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from contenders.registry import ENGINES
from plan import QUICK, QUICK_DIM, QUICK_ROWS, ROWS, SECTIONS, Plan
from workload import LOADERS, Workload, clustered

DATA = "FANLIGHT_DATA"


def parser(about: str | None) -> argparse.ArgumentParser:
    """Describe the arguments; those left out stay as the plan has them."""
    found = argparse.ArgumentParser(description=about)
    add = found.add_argument
    add("--quick", action="store_true", help="small and short: shows that all of it works")
    add("--only", dest="sections", type=_names(SECTIONS), help=f"of {','.join(SECTIONS)}")
    add("--engines", type=_names(ENGINES), help=f"of {','.join(ENGINES)}")
    add_vectors(found)
    add("--seed", type=int, help="of generated vectors and of arrivals")
    add("--shards", type=int, help="of the cluster, and partitions of hnswlib")
    add("--k", type=int, help="hits of a query")
    add("--ef", type=int, help="of hnswlib; its recall is what all must reach")
    add("--recall", type=float, help="what all must reach, hnswlib too, instead of that of --ef")
    add("--seconds", type=float, help="of each measurement")
    add("--rounds", type=int, help="measurements of each figure; the median counts")
    add("--callers", dest="caller_kind", choices=("tasks", "threads"), help="of servers")
    add("--set", dest="settings", action="append", metavar="SECTION.KEY=VALUE", help="of Fanlight")
    add("--output", type=Path, metavar="FOLDER", help="for the JSON file and the plots")
    return found


def add_vectors(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which vectors `work_of` gives; `seed` is the caller's to add."""
    add = parser.add_argument
    add("--data", choices=LOADERS, default="fashion_mnist", help=f"folder of {DATA}")
    add("--rows", type=int, help=f"of generated vectors, taken instead of {DATA}")
    add("--dim", type=int, help="of generated vectors")
    parser.set_defaults(quick=False)


def _names(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"expected of {', '.join(known)}, got {unknown[0]}")
        return names

    return parse


_GIVEN = (
    *("sections", "engines", "shards", "caller_kind", "seed"),
    *("k", "ef", "recall", "seconds", "rounds"),
)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Take the plan, full or quick, with what the arguments change."""
    plan = QUICK if arguments.quick else Plan()
    given = {name: getattr(arguments, name) for name in _GIVEN}
    given["settings"] = arguments.settings and tuple(arguments.settings)
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def work_of(arguments: argparse.Namespace) -> Workload:
    """Load the vectors of the data folder, or generate some."""
    folder = os.environ.get(DATA)
    if folder and not (arguments.quick or arguments.rows or arguments.dim):
        return LOADERS[arguments.data](Path(folder))
    rows, dim = (QUICK_ROWS, QUICK_DIM) if arguments.quick else ROWS
    return clustered(arguments.rows or rows, arguments.dim or dim, arguments.seed or 0)
