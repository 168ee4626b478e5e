"""Measure filtered search on one shard, in process: filter share against time and recall.

A filter of every share is asked beside the same search without a filter, all queries with it and
all without in turns, one query a call and a hundred a call. Three kinds of filter: `random` allows
rows all over the space; `near` and `far` allow the rows closest to one vector, and are asked with
the queries closest to that vector, or farthest from it. A call's time is the least over all turns,
so that other programs on the machine count little; answers are compared with brute force.

`--conditions` measures instead how long it takes to evaluate a condition over a million rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from arguments import add_vectors, work_of
from fanlight import field
from fanlight.filters import FieldType
from fanlight.model import SearchRequest
from fanlight_server.collection import Collection
from fanlight_server.index.bits import count
from fanlight_server.index.fields import Fields, GrowingFields, merge_fields
from fanlight_server.index.settings import SearchConfig
from machine import description, environment
from one_shard import Asked, cosines, opened, recall_among
from workload import Floats, Workload

SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001, 0.0001)
# What a filter may cost and must find, at these shares.
BAR_SHARES = (0.5, 0.1, 0.01, 0.001)
MOST_TIMES, LEAST_RECALL = 2.0, 0.95
_KINDS = ("random", "near", "far")
_BATCH = 100
# Queries of each kind: enough that one neighbour missed is 0.001 of recall.
_QUERIES = 100
_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Figure:
    """What one filter costs and finds.

    Attributes:
        kind: of the filter.
        share: of the rows that it allows.
        rows: that it allows.
        recall: share of the true neighbours among the allowed rows that were found.
        microseconds: of one query a call.
        times: the same over that of the search without a filter.
        batch_times: of a hundred queries a call, likewise.
        fresh_ms: to evaluate a filter of that kind that was not asked before.
    """

    kind: str
    share: float
    rows: int
    recall: float
    microseconds: float
    times: float
    batch_times: float
    fresh_ms: float


@dataclass(frozen=True, slots=True)
class Shard:
    """A collection at rest, with the queries and the true scores.

    Attributes:
        spread: (rows,) int, a number for each row in random order.
        closeness: (rows,) int, the place of each row by its score with one vector, closest first.
        queries: of each kind.
    """

    collection: Collection
    work: Workload
    spread: NDArray[np.int64]
    closeness: NDArray[np.int64]
    queries: dict[str, Floats]


def main() -> None:
    """Run the benchmark."""
    arguments = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    if arguments.conditions:
        measure_conditions(arguments.rows or 1_000_000, console)
        return
    work = work_of(arguments)
    console.print(f"{work.name}: {len(work.base):,} x {work.dim}; {description()}")
    started = datetime.now(UTC)
    with shard_of(work, arguments.folder) as shard:
        figures = list(measure(shard, arguments))
    show(figures, console)
    _write(arguments, work, started, figures, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--conditions", action="store_true", help="measure the evaluation of conditions alone")
    add_vectors(parser)
    add("--seed", type=int, help="of generated vectors")
    add("--k", type=int, default=10, help="hits of a query")
    add("--ef", type=int, default=SearchConfig().ef_search_default, help="candidates of a walk")
    add("--rounds", type=int, default=10, help="turns of each measurement")
    add("--kinds", default=",".join(_KINDS), help=f"of {','.join(_KINDS)}")
    add("--folder", type=Path, help="keep the built shard there, or use the one kept")
    add("--output", type=Path, help="write the figures as JSON")
    return parser


# --- the shard ------------------------------------------------------------------------------------


@contextmanager
def shard_of(work: Workload, folder: Path | None) -> Iterator[Shard]:
    """Put the vectors into a collection whose rows all stand in one graph."""
    rng = np.random.default_rng(1)
    spread = rng.permutation(len(work.base))
    pivot = work.queries[:1]
    closeness = np.argsort(np.argsort(-cosines(pivot, work.base)[0], kind="stable"))
    by_pivot = np.argsort(-cosines(pivot, work.queries)[0], kind="stable")
    queries = {
        "random": work.queries[:_QUERIES],
        "near": work.queries[by_pivot[:_QUERIES]],
        "far": work.queries[by_pivot[-_QUERIES:]],
    }
    with tempfile.TemporaryDirectory() as temporary:
        columns = {"spread": spread, "closeness": closeness}
        collection = opened(work, folder or Path(temporary), columns)
        yield Shard(collection, work, spread, closeness, queries)
        collection.close()


# --- the measurement ------------------------------------------------------------------------------


def measure(shard: Shard, arguments: argparse.Namespace) -> Iterator[Figure]:
    """Measure each kind of filter at each share."""
    for kind in arguments.kinds.split(","):
        queries = shard.queries[kind]
        name, numbers = ("spread", shard.spread) if kind == "random" else (
            "closeness", shard.closeness
        )  # fmt: skip
        scores = cosines(queries, shard.work.base)
        for share in SHARES:
            rows = max(1, round(share * len(numbers)))
            request = SearchRequest("bench", queries, arguments.k, ef_search=arguments.ef)
            asked = Asked(shard.collection, request, field(name) < rows)
            found = asked.search(queries, filtered=True)
            allowed = np.where(numbers < rows, scores, -np.inf)
            times, microseconds = asked.times(queries[:, None], arguments.rounds)
            batch, _ = asked.times(queries[None, :_BATCH], 4 * arguments.rounds)
            yield Figure(
                kind,
                share,
                rows,
                recall_among(found, allowed, min(arguments.k, rows)),
                1e6 * microseconds,
                times,
                batch,
                1e3 * _fresh_s(shard.collection, name, rows),
            )


def _fresh_s(collection: Collection, name: str, rows: int) -> float:
    """Time the evaluation of a filter that no bitmap is kept of."""
    (part,) = collection._index.view.segments
    fields = Fields(part.block.fields.rows, part.block.fields.columns)
    return _median(lambda: fields.allowed(field(name) < rows))


def _median(work: Callable[[], object], rounds: int = 11) -> float:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


# --- conditions alone -----------------------------------------------------------------------------


def measure_conditions(rows: int, console: Console) -> None:
    """Evaluate conditions over the columns of a segment, fresh and kept, and of a head."""
    rng = np.random.default_rng(0)
    numbers = rng.random(rows)
    words = [f"word-{n}" if half else "half" for n, half in
             zip(rng.integers(0, 50, rows).tolist(), (rng.random(rows) < 0.5).tolist(), strict=True)]  # fmt: skip
    types = {"word": FieldType.KEYWORD, "number": FieldType.FLOAT}
    values = [{"word": [w], "number": [n]} for w, n in zip(words, numbers.tolist(), strict=True)]
    head = GrowingFields(types)
    head.append(rows, values)
    segment = merge_fields([head.shown()], [np.arange(rows)], rows)
    fresh = Fields(rows, segment.columns)
    small = GrowingFields(types)
    small.append(8_192, values[:8_192])
    word, number = field("word"), field("number")
    conditions = {
        "keyword, 1 %": word == "word-7",
        "keyword, 50 %": word == "half",
        "one of 10 keywords, 10 %": word.is_in([f"word-{n}" for n in range(10)]),
        "range, 0.1 %": number < 0.001,
        "range, 1 %": number < 0.01,
        "range, 10 %": number < 0.1,
        "range, 50 %": number < 0.5,
        "range, 90 %": number < 0.9,
        "keyword, 50 %, and range, 50 %": (word == "half") & (number < 0.5),
        "not (keyword, 1 %)": word != "word-7",
    }
    table = Table(
        "condition", "rows", "fresh, ms", "kept, ms", f"head of {small.shown().rows:,}, ms"
    )
    for name, condition in conditions.items():
        found = count(segment.allowed(condition))
        times = [
            _median(lambda f=fields, c=condition: f.allowed(c))  # type: ignore[misc]
            for fields in (fresh, segment, small.shown())
        ]
        table.add_row(name, f"{found:,}", *(f"{1e3 * seconds:.3f}" for seconds in times))
    console.print(f"{rows:,} rows; {description()}", table)


# --- the report -----------------------------------------------------------------------------------


def show(figures: list[Figure], console: Console) -> None:
    """Print all figures, and which of them are over the bars."""
    table = Table(
        "filter", "share", "rows", "recall", "µs a query", "times", "in batches", "fresh, ms"
    )
    for f in figures:
        cells = (f"{100 * f.share:g} %", f"{f.rows:,}", f"{f.recall:.4f}", f"{f.microseconds:.0f}")
        times = (f"{f.times:.2f}", f"{f.batch_times:.2f}", f"{f.fresh_ms:.3f}")
        table.add_row(f.kind, *cells, *times)
    console.print(table)
    barred = [f for f in figures if f.share in BAR_SHARES]
    for f in barred:
        if f.recall < LEAST_RECALL or max(f.times, f.batch_times) > MOST_TIMES:
            console.print(
                f"over the bar: {f.kind} {100 * f.share:g} %: recall {f.recall:.4f} (at least "
                f"{LEAST_RECALL}), {f.times:.2f} and {f.batch_times:.2f} times (at most {MOST_TIMES})"
            )


def _write(
    arguments: argparse.Namespace,
    work: Workload,
    started: datetime,
    figures: list[Figure],
    console: Console,
) -> None:
    if arguments.output is None:
        return
    about = {
        "started": started.isoformat(timespec="seconds"),
        **environment(),
        "workload": {"name": work.name, "rows": len(work.base), "dim": work.dim},
        "k": arguments.k,
        "ef": arguments.ef,
    }
    text = json.dumps(about | {"filters": [asdict(f) for f in figures]}, indent=1)
    arguments.output.write_text(text)
    console.print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
