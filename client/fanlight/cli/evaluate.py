"""`fanlight eval`: how good the retrieval is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from fanlight.cli.matrix import read_matrix
from fanlight.cli.recall import recall
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import out, show_json, table
from fanlight.errors import InvalidRequest
from fanlight.evaluation import Figures, User, most_popular, retrieve, score_lists

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("eval")
def evaluate() -> None:
    """Measure how good the retrieval is.

    \b
    Examples:
      fanlight eval recall movies --target 0.99
      fanlight eval users movies users.jsonl --vectors users.npy
    """


evaluate.add_command(recall)


@evaluate.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.argument("file", type=_FILE)
@click.option(
    "--vectors", type=_FILE, help='A .npy, row for row with FILE. Default: "vector" in FILE.'
)
@click.option("-k", type=click.IntRange(1), default=20, show_default=True, help="List length.")
@click.option("--ef-search", type=int, help="Candidates kept: more find more and take longer.")
@click.option("--exact", is_flag=True, help="Compare every item.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def users(
    name: str,
    file: Path,
    vectors: Path | None,
    k: int,
    ef_search: int | None,
    exact: bool,
    as_json: bool,
) -> None:
    """Measure retrieval against what users did later.

    FILE has a user on each line: {"history": [ids], "test": [ids], "vector": [...]}, split by time.
    Measured twice: over all held-out items, and over those new to the user, with the history left
    out of the lists; the most popular items stand beside.

    \b
    Example:
      fanlight eval users shop users.jsonl --vectors users.npy -k 20 --exact
    """
    people, inline = _read_users(file)
    queries = inline if vectors is None else read_matrix(vectors)
    if queries is None or len(queries) != len(people):
        got = "none" if queries is None else str(len(queries))
        raise InvalidRequest.of_field("vectors", f"{len(people)}, one a user", got)
    parameters: dict[str, Any] = {"exact": exact, "ef_search": ef_search}
    figures = {}
    with connect() as client:
        collection = client.collection(name)
        catalogue = collection.count()
        for label, group, fresh in (
            ("all held-out items", people, False),
            ("new to the user", [user.new for user in people], True),
        ):
            found = retrieve(
                collection.search, queries, group, k, without_history=fresh, **parameters
            )
            popular = most_popular(group, k, without_history=fresh)
            figures[label] = {
                "retrieval": score_lists(found, group, k, catalogue),
                "most popular": score_lists(popular, group, k, catalogue),
            }
    _show_figures(figures, as_json)


def _read_users(path: Path) -> tuple[list[User], NDArray[np.float32] | None]:
    people, vectors = [], []
    with path.open(encoding="utf-8") as lines:
        for row, line in enumerate(lines):
            try:
                user = json.loads(line)
                people.append(User(frozenset(user["history"]), frozenset(user["test"])))
            except (ValueError, KeyError, TypeError):
                expected = 'an object with "history" and "test"'
                raise InvalidRequest.of_field(f"line {row + 1}", expected, "another") from None
            vectors.append(user.get("vector"))
    complete = bool(vectors) and all(isinstance(vector, list) for vector in vectors)
    return people, np.array(vectors, dtype=np.float32) if complete else None


def _show_figures(figures: dict[str, dict[str, Figures]], as_json: bool) -> None:
    if as_json:
        show_json(
            {name: {who: asdict(f) for who, f in group.items()} for name, group in figures.items()}
        )
        return
    for name, group in figures.items():
        first = next(iter(group.values()))
        columns = ("hit rate", f"recall@{first.k}", f"NDCG@{first.k}", "coverage")
        made = table("", *columns, title=f"{name}, {first.users:,} users", right=columns)
        for who, found in group.items():
            values = (found.hit_rate, found.recall, found.ndcg, found.coverage)
            made.add_row(who, *(f"{value:.4f}" for value in values))
        out.print(made)
        out.print()
