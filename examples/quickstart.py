"""Write, search, read and delete items, in a page.

Needs a cluster (`fanlight up`); then `python examples/quickstart.py [HOST:PORT]`.
"""

from __future__ import annotations

import sys

import numpy as np

import fanlight


def main(address: str) -> None:
    """Run all the steps once, in a collection that is deleted at the end."""
    rng = np.random.default_rng(seed=7)
    ids = np.arange(1_000)
    vectors = rng.standard_normal((1_000, 64), dtype=np.float32)
    payloads = [{"title": f"Film {number}", "year": 1950 + number % 75} for number in ids.tolist()]

    with fanlight.Client(address) as client:
        films = client.create_collection("quickstart-films", dim=64, filterable={"year": "int"})
        films.upsert(ids, vectors, payloads)
        print(f"{films.count():,} items in {films.name}")

        # Two queries at once; ids and scores are arrays of two rows.
        hits = films.search(vectors[[42, 7]], k=3, with_payloads=True)
        for query, (scores, found) in enumerate(zip(hits.scores, hits.payloads or [], strict=True)):
            print(f"query {query}:")
            for score, payload in zip(scores, found, strict=True):
                print(f"  {score:.3f}  {payload}")

        # Only films of the nineties.
        nineties = films.search(vectors[42], k=3, filter={"year": {"gte": 1990, "lt": 2000}})
        print("of the nineties:", nineties.ids[0].tolist())

        # The neighbours of a stored item, itself left out.
        print("like film 42:", films.search_by_id([42], k=3).ids[0].tolist())

        films.delete([42])
        print("missing after the deletion:", films.get([41, 42]).missing.tolist())
        client.delete_collection(films.name)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "localhost:7700")
