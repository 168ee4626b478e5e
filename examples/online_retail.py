"""Retrieve gift-shop items for users and for items, and see what the users bought later.

    fanlight up &
    python examples/online_retail.py FOLDER [HOST:PORT]

FOLDER holds the vectors of a UK gift shop's items and users, learnt from purchases before
2011-09-01, and what each user bought before and after (Chen, Sain and Guo 2012; UCI data set 352).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import fanlight
from fanlight.evaluation import User, most_popular, retrieve, score_lists

K = 20
NAME = "online-retail"
SHOWN = "85123A"  # "WHITE HANGING HEART T-LIGHT HOLDER", the shop's best seller


def main() -> None:
    """Load the items, show the neighbours of one, and evaluate retrieval for all users."""
    folder = Path(sys.argv[1])
    items = [json.loads(line) for line in (folder / "items.jsonl").open(encoding="utf-8")]
    vectors = np.load(folder / "item_vectors.npy")
    users = np.load(folder / "user_vectors.npy")
    with fanlight.Client(sys.argv[2] if len(sys.argv) > 2 else "localhost:7700") as client:
        shop = client.create_collection(NAME, dim=vectors.shape[1], filterable={"price": "float"})
        payloads = [{"name": i["description"], "price": i["median_price"]} for i in items]
        shop.upsert(np.arange(len(vectors)), vectors, payloads[: len(vectors)])
        show_similar(shop, items)
        evaluate(shop, users, read_users(folder / "test_items.jsonl"))
        client.delete_collection(NAME)


def read_users(path: Path) -> list[User]:
    """Read what each user bought before the split and after."""
    lines = [json.loads(line) for line in path.open(encoding="utf-8")]
    return [User(frozenset(line["history"]), frozenset(line["test"])) for line in lines]


def show_similar(shop: fanlight.Collection, items: list[dict[str, object]]) -> None:
    """Print the items most often bought by those who bought one: item to item."""
    number = next(row for row, item in enumerate(items) if item["stock_code"] == SHOWN)
    hits = shop.search_by_id([number], k=5, with_payloads=True)
    print(f"like {items[number]['description']}:")
    for score, payload in zip(hits.scores[0], (hits.payloads or [[]])[0], strict=True):
        print(f"  {score:.3f}  {(payload or {}).get('name')}")


def evaluate(shop: fanlight.Collection, vectors: np.ndarray, users: list[User]) -> None:
    """Print recall@20 of what was bought later: user to item."""
    for label, group, fresh in (
        ("all items bought later", users, False),
        ("items new to the user", [user.new for user in users], True),
    ):
        print(f"{label}:")
        for how, parameters in (("exact", {"exact": True}), ("index", {"ef_search": 200})):
            lists = retrieve(shop.search, vectors, group, K, without_history=fresh, **parameters)
            show(how, lists, group, shop.count())
        show("most popular", most_popular(group, K, without_history=fresh), group, shop.count())


def show(how: str, lists: list[list[object]], users: list[User], catalogue: int) -> None:
    """Print the figures of one way to make lists."""
    found = score_lists(lists, users, K, catalogue)
    print(
        f"  {how}: recall@{K} {found.recall:.4f}, hit rate {found.hit_rate:.4f}, "
        f"NDCG {found.ndcg:.4f}, {found.coverage:.0%} of the catalogue, {found.users:,} users"
    )


if __name__ == "__main__":
    main()
