"""Measure a cluster on this machine beside raw hnswlib: recall, latency, rates, ingest."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from load import Latencies, batch_rate, ingest, single_queries
from raw_hnswlib import RawHnswlib
from rich.console import Console
from rich.table import Table
from workload import Floats, Workload, clustered, fashion_mnist, recall

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig

NAME = "bench"
K = 10
M = 16
EF_CONSTRUCTION = 200
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmark and print its table."""
    arguments = _parser().parse_args()
    folder = os.environ.get("FANLIGHT_DATA")
    work = fashion_mnist(Path(folder)) if folder else clustered(arguments.rows, arguments.dim)
    console = Console()
    console.print(f"{work.name}: {len(work.base)} x {work.base.shape[1]}, {_machine()}")
    figures: dict[str, Any] = {"workload": work.name, "rows": len(work.base), **_environment()}
    figures["hnswlib"] = _raw(work, arguments)
    console.print("hnswlib done", style="dim")
    figures["fanlight"] = _cluster(work, arguments, console)
    console.print(_table(figures, arguments))
    console.print(f"written to {_save(figures)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--ef", type=int, default=64)
    parser.add_argument("--rows", type=int, default=60_000, help="of generated vectors")
    parser.add_argument("--dim", type=int, default=128, help="of generated vectors")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each measurement")
    return parser


def _thousand(queries: Floats) -> Floats:
    return np.resize(queries, (1_000, queries.shape[1]))


def _raw(work: Workload, arguments: argparse.Namespace) -> dict[str, float]:
    raw = RawHnswlib.build(work.base, arguments.shards, M, EF_CONSTRUCTION, arguments.ef)
    found = raw.search(work.queries, K, os.cpu_count() or 1)
    return {
        "recall": recall(found, work.truth(K)),
        "build_rows_per_second": len(work.base) / raw.build_s,
        "batch_1000": raw.batch_rate(_thousand(work.queries), K, arguments.seconds),
        "single": raw.single_rate(work.queries, K, arguments.seconds),
    }


def _cluster(work: Workload, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as data:
        shape = ClusterShape(name=NAME, shards=arguments.shards, data=Path(data), port=0)
        with (
            LocalCluster(LocalConfig(cluster=shape)) as cluster,
            fanlight.Client(cluster.address) as client,
        ):
            figures = _load(client, work)
            console.print("loaded and indexed", style="dim")
            figures |= _recall(client, work, arguments.ef)
            figures |= _measure(cluster.address, work, arguments)
            return figures


def _load(client: fanlight.Client, work: Workload) -> dict[str, Any]:
    items = client.create_collection(
        NAME, dim=work.base.shape[1], m=M, ef_construction=EF_CONSTRUCTION
    )
    started = time.perf_counter()
    items.upsert(np.arange(len(work.base)), work.base, progress=False, timeout=600)
    acknowledged = time.perf_counter() - started
    while items.info().unindexed_items > len(work.base) // 100:
        time.sleep(0.1)
    indexed = time.perf_counter() - started
    # what the builders still merge at rest would disturb the measurements
    segments = -1
    while segments != (segments := items.info().segments):
        time.sleep(6.0)
    return {
        "acknowledged_rows_per_second": len(work.base) / acknowledged,
        "indexed_rows_per_second": len(work.base) / indexed,
        "segments": segments,
    }


def _recall(client: fanlight.Client, work: Workload, ef: int) -> dict[str, Any]:
    items = client.collection(NAME)
    truth = work.truth(K)
    approximate = items.search(work.queries, k=K, ef_search=ef, timeout=60)
    exact = items.search(work.queries, k=K, exact=True, timeout=60)
    return {
        "recall": recall(np.asarray(approximate.ids, np.int64), truth),
        "exact_equals_brute_force": bool(np.array_equal(exact.ids, truth)),
    }


def _measure(address: str, work: Workload, arguments: argparse.Namespace) -> dict[str, Any]:
    def singles(callers: int) -> Latencies:
        return single_queries(
            address, NAME, work.queries, K, arguments.ef, callers, arguments.seconds
        )

    thousand = _thousand(work.queries)
    figures: dict[str, Any] = {f"callers_{n}": asdict(singles(n)) for n in (1, 8, 32, 128)}
    figures["batch_1000"] = batch_rate(address, NAME, thousand, K, arguments.ef, arguments.seconds)
    with ingest(address, NAME, work.base, first_id=len(work.base)) as rate:
        figures["ingest_callers_1"] = asdict(singles(1))
        figures["ingest_callers_8"] = asdict(singles(8))
    figures["ingest_rows_per_second"] = rate[0]
    return figures


def _table(figures: dict[str, Any], arguments: argparse.Namespace) -> Table:
    raw, ours = figures["hnswlib"], figures["fanlight"]
    table = Table(title=f"{figures['workload']}, {arguments.shards} shards, ef {arguments.ef}")
    for column in ("", "fanlight", "hnswlib", "ratio"):
        table.add_column(column, justify="left" if not column else "right")

    def compare(label: str, a: float, b: float, form: str) -> None:
        table.add_row(label, format(a, form), format(b, form), f"{a / b:.2f}")

    compare("recall@10", ours["recall"], raw["recall"], ".4f")
    compare("batches of 1,000, queries/s", ours["batch_1000"], raw["batch_1000"], ",.0f")
    compare("32 callers, queries/s", ours["callers_32"]["per_second"], raw["single"], ",.0f")
    rate = ours["indexed_rows_per_second"]
    compare("rows/s to indexed", rate, raw["build_rows_per_second"], ",.0f")
    table.add_row("rows/s acknowledged", f"{ours['acknowledged_rows_per_second']:,.0f}")
    table.add_row("exact equals brute force", str(ours["exact_equals_brute_force"]))
    for key, value in ours.items():
        if isinstance(value, dict):
            text = f"{value['p50_ms']:.2f} / {value['p99_ms']:.2f} ms"
            table.add_row(f"{key}: p50 / p99", text, f"{value['per_second']:,.0f}/s")
    table.add_row("rows/s during that ingest", f"{ours['ingest_rows_per_second']:,.0f}")
    return table


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores of {model}"


def _environment() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    packages = ("fanlight", "grpcio", "protobuf", "numpy", "hnswlib")
    return {
        "machine": _machine(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _save(figures: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    path = RESULTS / f"serving-{figures['workload']}-{stamp}.json"
    path.write_text(json.dumps(figures, indent=2))
    return path


if __name__ == "__main__":
    main()
