"""`fanlight eval`: how good the retrieval is."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

import fanlight
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import err, out, show_json, show_note, table
from fanlight.errors import InvalidRequest
from fanlight.evaluation import (
    DEFAULT_EFS,
    Curve,
    Figures,
    User,
    measure_recall,
    most_popular,
    retrieve,
    score_lists,
)
from fanlight.evaluation.recall import Search

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUTPUT = click.Path(dir_okay=False, path_type=Path)
_ALL = "all items"


@click.group("eval")
def evaluate() -> None:
    """Measure how good the retrieval is.

    \b
    Examples:
      fanlight eval recall movies --target 0.99
      fanlight eval users movies users.jsonl --vectors users.npy
    """


def _numbers(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("expected numbers with commas between") from None


# --- against exact search ---------------------------------------------------------------------


@evaluate.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.option("--queries", type=_FILE, help="A .npy of query vectors. Default: stored items.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="Queries asked: the first of the file, or so many stored items, each itself left out.",
)
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Hits wanted.")
@click.option(
    "--ef",
    "efs",
    callback=_numbers,
    default=",".join(map(str, DEFAULT_EFS)),
    show_default=True,
    help="Values of ef_search to try; those below k are left out.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="JSON",
    help="Measure searches with this filter too; repeatable.",
)
@click.option(
    "--target",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Tell the cheapest ef_search that reaches this recall.",
)
@click.option("--plot", type=_OUTPUT, help="Draw recall against speed; .png or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recall(
    name: str,
    queries: Path | None,
    sample: int,
    k: int,
    efs: tuple[int, ...],
    filters: tuple[str, ...],
    target: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure recall of the index against exact search, by ef_search.

    The same queries are asked exactly and with each ef_search; a hit counts when it is as near as
    the exact k-th.

    \b
    Examples:
      fanlight eval recall movies --queries queries.npy -k 10 --target 0.99 --plot recall.png
      fanlight eval recall movies --filter '{"genre": "drama"}' --filter '{"year": {"gte": 2020}}'
    """
    if plot is not None:
        _check_plots()
    demands = {_ALL: None} | {text: _parsed(text) for text in filters}
    with connect() as client:
        collection = client.collection(name)
        search, asked = _queries(collection, queries, sample)
        curves = {}
        with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
            for label, demand in demands.items():
                rounds = len({ef for ef in efs if ef >= k}) + 1
                task = progress.add_task(label, total=rounds)
                curves[label] = measure_recall(
                    search,
                    asked,
                    k=k,
                    efs=efs,
                    progress=partial(progress.advance, task),
                    filter=demand,
                )
    if plot is not None:
        from fanlight.evaluation.plots import draw_recall

        draw_recall(curves, plot)
    _show_curves(curves, target, as_json)


def _check_plots() -> None:
    try:
        import matplotlib as _  # noqa: F401
    except ModuleNotFoundError:
        hint = "pip install 'fanlight[plots]'"
        raise InvalidRequest.of_field("plot", f"matplotlib, from {hint}", "none") from None


def _parsed(text: str) -> dict[str, Any]:
    try:
        conditions = json.loads(text)
    except ValueError:
        conditions = None
    if not isinstance(conditions, dict):
        raise InvalidRequest.of_field("filter", "a JSON object of conditions", repr(text))
    return conditions


def _queries(collection: fanlight.Collection, path: Path | None, sample: int) -> tuple[Search, Any]:
    if path is not None:
        return collection.search, _matrix(path)[:sample]
    pages = collection.scroll(page_size=min(sample, 1_000), with_vectors=False, with_payloads=False)
    ids: list[Any] = []
    for page in pages:
        ids += page.ids.tolist()
        if len(ids) >= sample:
            break
    if not ids:
        raise InvalidRequest.of_field("collection", "at least one item", "0 items")
    return collection.search_by_id, ids[:sample]


def _matrix(path: Path) -> NDArray[np.float32]:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError):
        raise InvalidRequest.of_field("file", "a readable .npy", str(path)) from None
    if not isinstance(found, np.ndarray) or found.ndim != 2:
        raise InvalidRequest.of_field("file", "a matrix, one vector a row", str(path))
    return np.asarray(found, dtype=np.float32)


def _show_curves(curves: dict[str, Curve], target: float, as_json: bool) -> None:
    if as_json:
        shown = {
            name: asdict(curve) | {"cheapest_ef_search": curve.cheapest(target)}
            for name, curve in curves.items()
        }
        show_json({"target": target, "curves": shown})
        return
    for name, curve in curves.items():
        title = f"{name}: recall@{curve.k} of {curve.queries:,} queries"
        made = table(
            "ef_search", "recall", "queries/s", title=title, right=("ef_search", "queries/s")
        )
        for point in curve.points:
            made.add_row(str(point.ef_search), f"{point.recall:.4f}", f"{point.queries_per_s:,.0f}")
        made.add_row("exact", "1.0000", f"{curve.exact_queries_per_s:,.0f}")
        out.print(made)
        cheapest = curve.cheapest(target)
        if cheapest is None:
            show_note(f"No ef_search of those reaches {target}; the highest recall is above.\n")
        else:
            out.print(f"ef_search={cheapest} is the cheapest that reaches {target}.\n")


# --- against what users did later -------------------------------------------------------------


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
    queries = inline if vectors is None else _matrix(vectors)
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
