"""`fanlight demo`: real text embeddings through a real cluster, judged against the truth."""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.text import Text

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig
from fanlight.cli.show import err, out, show_error, table
from fanlight.errors import InvalidRequest
from fanlight.model import Floats, Hits, IdColumn, Rows

_DATA = Path(__file__).resolve().parents[3] / "examples" / "debian_minilm_8k"
_COLLECTION = "debian"
_K = 10
_RECALL_DEMANDED = 0.98
# Float32 rounding of a cosine of 384 dimensions stays well below.
_TIE = 1e-5
_SHOWN = (17, 60, 123)
_SHOWN_HITS = 4
_BATCH_ROWS = 1_000
# Building the graphs of 8,000 rows takes some seconds, in steps of a few seconds each. Rows too
# few for a graph stay in the head and are searched exactly.
_INDEXED_WITHIN_S = 90.0
_AT_REST_S = 8.0
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Packages:
    """The embeddings of Debian packages, and queries with their exact answers.

    Attributes:
        vectors: (8000, 384) float16.
        payloads: 8,000 objects: name, section, summary, ...
        queries: (200, 384) float16.
        texts: the 200 queries as text.
        neighbors: (200, 100) ids of the exact nearest rows, best first.
        similarities: (200, 100) their cosines.
    """

    vectors: NDArray[np.float16]
    payloads: list[dict[str, Any]]
    queries: NDArray[np.float16]
    texts: list[str]
    neighbors: Rows
    similarities: Floats


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="Keep the cluster's data there.")
@click.option("--shards", type=click.IntRange(1, 16), default=3, show_default=True)
def demo(data: Path | None, shards: int) -> None:
    """Try it on 8,000 real text embeddings.

    Starts a cluster on free ports, loads the embeddings of Debian package descriptions that are
    in the repository under examples/, runs 200 real queries and compares the answers with exact
    ones. Exit status 1: the recall is below 0.98.

    \b
    Example:
      fanlight demo
    """
    packages = _read(_DATA)
    with _directory(data) as folder:
        shape = ClusterShape(shards=shards, port=0, data=folder)
        out.print(f"Starting {shards} shards and a router as processes of this machine.")
        with (
            LocalCluster(LocalConfig(cluster=shape)) as cluster,
            fanlight.Client(cluster.address, tls=False, api_key="") as client,
        ):
            recall = _run(client, packages)
    if recall < _RECALL_DEMANDED:
        show_error(f"recall@{_K} is {recall:.4f}, below {_RECALL_DEMANDED}")
        sys.exit(1)
    _say_what_next(data, shards)


def _read(folder: Path) -> Packages:
    if not folder.is_dir():
        raise InvalidRequest(
            f"The demo's data is part of the source repository and not of the package: {folder} "
            "is missing. Clone the repository and run `make demo` there."
        )
    with gzip.open(folder / "meta.jsonl.gz", "rt", encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    queries = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return Packages(
        vectors=np.load(folder / "base.npy"),
        payloads=[{key: item[key] for key in item if key != "id"} for item in items],
        queries=np.load(folder / "queries.npy"),
        texts=[json.loads(line)["text"] for line in queries],
        neighbors=np.load(folder / "neighbors.npy").astype(np.int64),
        similarities=np.load(folder / "distances.npy"),
    )


@contextmanager
def _directory(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield data
    else:
        with tempfile.TemporaryDirectory(prefix="fanlight-demo-") as folder:
            yield Path(folder)


def _run(client: fanlight.Client, packages: Packages) -> float:
    """Load, index and search; give the recall."""
    rows, dim = packages.vectors.shape
    collection = client.create_collection(_COLLECTION, dim=dim, metric="cosine")
    started = time.perf_counter()
    collection.upsert(np.arange(rows), packages.vectors, packages.payloads)
    loaded = time.perf_counter()
    out.print(f"Loaded {rows:,} embeddings of {dim} dimensions in {loaded - started:.1f} s.")
    left = _await_indexed(collection)
    exactly = f"; {left:,} items have no graph and are searched exactly" if left else ""
    out.print(f"Indexed after another {time.perf_counter() - loaded:.1f} s{exactly}.\n")
    hits, single, batch = _measure(collection, packages.queries)
    _show_examples(packages, hits)
    recall = recall_at_k(hits.ids, packages)
    out.print(
        f"[bold]recall@{_K} {recall:.4f}[/bold] over {len(hits.ids)} queries, against exact answers."
    )
    out.print(
        f"{single:,.0f} queries/s one by one, {batch:,.0f} queries/s in one batch; client, router "
        "and shards share this machine's cores.",
        soft_wrap=True,
    )
    return recall


def _await_indexed(collection: fanlight.Collection) -> int:
    """Wait until the graphs are built; give the items that stay without one."""
    deadline = at_rest = time.monotonic() + _INDEXED_WITHIN_S
    unindexed = -1
    with err.status("Indexing") as line:
        while unindexed and time.monotonic() < min(deadline, at_rest):
            before, unindexed = unindexed, collection.info().unindexed_items
            if unindexed != before:
                at_rest = time.monotonic() + _AT_REST_S
            line.update(f"Indexing: {unindexed:,} items are not in a graph yet")
            time.sleep(_LOOK_EVERY_S)
    return unindexed


def _measure(
    collection: fanlight.Collection, queries: NDArray[np.float16]
) -> tuple[Hits, float, float]:
    """Search in one batch and one by one; give hits and the queries per second of each way."""
    collection.search(queries, k=_K)
    started = time.perf_counter()
    for query in queries:
        collection.search(query, k=_K)
    between = time.perf_counter()
    collection.search(queries, k=_K)
    ended = time.perf_counter()
    hits = collection.search(queries, k=_K, with_payloads=True)
    return hits, len(queries) / (between - started), len(queries) / (ended - between)


def recall_at_k(found: IdColumn, packages: Packages, k: int = _K) -> float:
    """Measure which share of the first k ids belongs there.

    An id belongs there when it is among the exact k nearest or as similar as the k-th of them:
    near-duplicates make ties, and of a tie any member is right.

    Args:
        found: (n, >= k) ids, one row a query.
        packages: the truth.
        k: hits judged.
    """
    base, queries = _unit(packages.vectors), _unit(packages.queries)
    right = 0
    for row, query in enumerate(queries):
        ids = np.unique(found[row, :k][found[row, :k] >= 0]).astype(np.int64)
        tied = base[ids] @ query >= packages.similarities[row, k - 1] - _TIE
        right += int(np.count_nonzero(tied | np.isin(ids, packages.neighbors[row, :k])))
    return right / (k * len(queries))


def _unit(vectors: NDArray[np.float16]) -> Floats:
    wide = vectors.astype(np.float32)
    unit: Floats = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def _show_examples(packages: Packages, hits: Hits) -> None:
    assert hits.payloads is not None
    for row in _SHOWN:
        title = f"“{packages.texts[row]}”"
        made = table("Score", "Package", "Section", "Summary", title=title, right=("Score",))
        for score, payload in zip(hits.scores[row, :_SHOWN_HITS], hits.payloads[row], strict=False):
            words = payload or {}
            cells = (Text(str(words.get(key))) for key in ("name", "section", "summary"))
            made.add_row(f"{score:.3f}", *cells)
        out.print(made, "")


def _say_what_next(data: Path | None, shards: int) -> None:
    kept = escape(str(data or "fanlight-data"))
    if data is None:
        out.print(f"\nNext: keep the data with [bold]fanlight demo --data {kept}[/bold], then")
    else:
        out.print("\nNext: serve what was loaded, and search it from another terminal")
    out.print(
        f"  fanlight up --data {kept} --shards {shards}\n"
        "  fanlight status\n"
        f"  fanlight search {_COLLECTION} --id 17 -k 5 --with-payloads\n"
        "The same in Python: examples/quickstart.py",
        soft_wrap=True,
    )
