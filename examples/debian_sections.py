"""Find Debian packages by meaning, within a section or below a size, and draw them as a map.

    fanlight up &
    python examples/debian_sections.py [HOST:PORT]

The data is in the repository: embeddings of package descriptions, queries, and their exact answers.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import fanlight
from fanlight import field

FOLDER = Path(__file__).parent / "debian_minilm_8k"
NAME = "debian-sections"
K = 10


def main() -> None:
    """Load the packages and compare filtered answers with the exact ones."""
    base = np.load(FOLDER / "base.npy").astype(np.float32)
    with gzip.open(FOLDER / "meta.jsonl.gz", "rt", encoding="utf-8") as lines:
        packages = [json.loads(line) for line in lines]
    queries = np.load(FOLDER / "queries.npy").astype(np.float32)
    asked = [json.loads(line) for line in (FOLDER / "queries.jsonl").open(encoding="utf-8")]
    filterable = {"section": "keyword", "installed_size_kb": "int"}
    with fanlight.Client(sys.argv[1] if len(sys.argv) > 1 else "localhost:7700") as client:
        debian = client.create_collection(NAME, dim=base.shape[1], filterable=filterable)
        payloads = [{key: value for key, value in p.items() if key != "id"} for p in packages]
        debian.upsert(np.arange(len(base)), base, payloads, progress=False)
        show(debian, queries[0], asked[0])
        small = debian.search(queries, k=K, filter=field("installed_size_kb") < 500).ids
        report("installed_size_kb < 500", small, "size_lt_500")
        check(small, [p["installed_size_kb"] < 500 for p in packages])
        rows = [
            debian.search(query, k=K, filter=field("section") == about["section"]).ids[0]
            for query, about in zip(queries, asked, strict=True)
        ]
        report("section == the query's", np.array(rows), "same_section")
        for row, about in zip(rows, asked, strict=True):
            check(row, [p["section"] == about["section"] for p in packages])
        client.delete_collection(NAME)


def show(debian: fanlight.Collection, query: np.ndarray, about: dict[str, Any]) -> None:
    """Print what is found for one text, anywhere and within its section."""
    print(f"“{about['text']}”")
    for where, demand in (
        ("anywhere", None),
        (f"in {about['section']}", field("section") == about["section"]),
    ):
        hits = debian.search(query, k=3, filter=demand, with_payloads=True)
        names = [(payload or {})["name"] for payload in (hits.payloads or [[]])[0]]
        print(f"  {where}: {', '.join(names)}")


def report(demand: str, found: np.ndarray, truth: str) -> None:
    """Print recall@10 against the exact filtered answers."""
    neighbors = np.load(FOLDER / f"neighbors_{truth}.npy")[:, :K]
    good = sum(len(set(a) & set(b) - {-1}) for a, b in zip(found, neighbors, strict=True))
    print(f"{demand}: recall@{K} {good / (neighbors >= 0).sum():.4f}")


def check(found: np.ndarray, allowed: list[bool]) -> None:
    """Make sure that no answer holds an item outside its filter."""
    outside = [i for i in found.ravel().tolist() if i >= 0 and not allowed[i]]
    if outside:
        raise AssertionError(f"items outside the filter: {outside}")


if __name__ == "__main__":
    main()
