"""`fanlight eval` and `fanlight map` against a real cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fanlight
from fanlight.cli.local_cluster import LocalCluster

ROWS, DIM = 300, 12
VECTORS = np.random.default_rng(seed=21).standard_normal((ROWS, DIM), dtype=np.float32)


@pytest.fixture
def items(client: fanlight.Client) -> Iterator[fanlight.Collection]:
    collection = client.create_collection(
        "judged", dim=DIM, filterable={"kind": "keyword", "year": "int"}
    )
    payloads = [
        {"kind": "ab"[row % 2], "title": f"t{row}", "year": 1900 + row} for row in range(ROWS)
    ]
    collection.upsert(np.arange(ROWS), VECTORS, payloads)
    yield collection
    client.delete_collection("judged")


def run(cluster: LocalCluster, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "fanlight.cli", "--address", cluster.address, *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_recall_of_stored_items_and_of_a_file(
    cluster: LocalCluster, items: fanlight.Collection, tmp_path: Path
) -> None:
    """Curves for all items and for a filter, the cheapest ef, and a picture."""
    np.save(tmp_path / "queries.npy", VECTORS[:20] + 0.1)
    arguments = ("eval", "recall", items.name, "--ef", "5,10,64", "--json")
    asked = {
        (): (300, "all items"),
        ("--queries", "queries.npy", "--filter", '{"kind": "a"}'): (20, '{"kind": "a"}'),
    }
    for more, (queries, label) in asked.items():
        done = run(cluster, tmp_path, *arguments, *more, "--plot", "recall.png")
        assert done.returncode == 0, done.stderr
        curve = json.loads(done.stdout)["curves"][label]
        # So few items are all scanned, at any ef; 5 is below k and left out.
        assert [(p["ef_search"], p["recall"]) for p in curve["points"]] == [(10, 1.0), (64, 1.0)]
        assert (curve["queries"], curve["cheapest_ef_search"]) == (queries, 10)
        assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")
    shown = run(cluster, tmp_path, *arguments[:-1])
    assert "ef_search=10 is the cheapest that reaches 0.99" in shown.stdout


@pytest.mark.slow
def test_recall_by_share(cluster: LocalCluster, items: fanlight.Collection, tmp_path: Path) -> None:
    """Filters by quantiles and filters that were given, by the share they leave; and a picture."""
    arguments = ("eval", "recall", items.name, "--filter-share", "--ef", "10,64")
    more = ("--by", "year", "--shares", "50,10,1", "--filter", '{"kind": "c"}')
    done = run(cluster, tmp_path, *arguments, *more, "--json", "--plot", "shares.png")
    assert done.returncode == 0, done.stderr
    shares = json.loads(done.stdout)["shares"]
    assert [(share["filter"], share["items"]) for share in shares] == [
        ("all items", 300),
        ("year >= 2050", 150),
        ("year >= 2170", 30),
        ("year >= 2197", 3),
    ]
    for share in shares:
        assert share["share"] == share["items"] / ROWS
        assert [(p["ef_search"], p["recall"]) for p in share["points"]] == [(10, 1.0), (64, 1.0)]
    assert 'No item satisfies {"kind": "c"}' in done.stderr
    assert (tmp_path / "shares.png").read_bytes().startswith(b"\x89PNG")
    shown = run(cluster, tmp_path, *arguments, "--filter", '{"kind": "a"}').stdout
    line = next(line for line in shown.splitlines() if line.startswith('{"kind": "a"}'))
    assert "50 %" in line
    assert "150" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        (("--filter-share",), 2, "--filter-share goes with --by"),
        (("--by", "year"), 2, "--filter-share goes with --by"),
        (("--filter-share", "--by", "kind"), 1, "by: expected a filterable number or time (year)"),
        (("--shares", "0"), 2, "'--shares': expected percents above 0"),
        (("--ef", "a"), 2, "'--ef': expected numbers"),
        (("--filter", "["), 1, "filter: expected a JSON object"),
    ],
)
def test_wrong_uses_of_recall(
    cluster: LocalCluster,
    items: fanlight.Collection,
    tmp_path: Path,
    more: tuple[str, ...],
    status: int,
    text: str,
) -> None:
    """They name the option, in one line or with the usage."""
    done = run(cluster, tmp_path, "eval", "recall", items.name, *more)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr


@pytest.mark.slow
def test_users(cluster: LocalCluster, items: fanlight.Collection, tmp_path: Path) -> None:
    """Users whose vectors are items find them, unless these are their history."""
    lines = [
        {"history": [row], "test": [row, 299 - row], "vector": VECTORS[row].tolist()}
        for row in range(10)
    ]
    (tmp_path / "users.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = ("eval", "users", items.name, "users.jsonl", "-k", "300", "--exact", "--json")
    done = run(cluster, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    for group in json.loads(done.stdout).values():
        assert group["retrieval"]["users"] == 10
        assert group["retrieval"]["recall"] == 1.0
        assert group["most popular"]["recall"] < 1.0
    (tmp_path / "users.jsonl").write_text('{"history": []}')
    bad = run(cluster, tmp_path, *arguments)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert 'line 1: expected an object with "history" and "test"' in bad.stderr


@pytest.mark.slow
def test_a_map(cluster: LocalCluster, items: fanlight.Collection, tmp_path: Path) -> None:
    """A picture and the projector's files, of a sample; an unknown field is named."""
    arguments = ("map", items.name, "map.png", "--sample", "100")
    done = run(cluster, tmp_path, *arguments, "--colour-by", "kind", "--projector", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "out" / "vectors.tsv").read_text().splitlines()) == 100
    bad = run(cluster, tmp_path, *arguments, "--colour-by", "genre")
    assert "field: expected one of kind, title, year, got 'genre'" in bad.stderr
