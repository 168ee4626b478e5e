"""`fanlight search`: the nearest items of one query, and why an item is among them or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

import fanlight
from fanlight.cli.id_input import IDS_FILE, IdInput
from fanlight.cli.session import address_option, connect, coverage_option
from fanlight.cli.show import parse_filter
from fanlight.cli.show_hits import show_explanation, show_hits
from fanlight.errors import InvalidRequest
from fanlight.model import Hits
from fanlight.queries import Cap, Mmr, Query, Slate

_WAYS = "Give exactly one of --vector, --id, --file and --like."


def _caps(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> tuple[Cap, ...]:
    caps = []
    for text in texts:
        field, _colon, most = text.rpartition(":")
        if not field or not most.isdecimal() or int(most) < 1:
            raise click.BadParameter(f"expected FIELD:N with N of 1 or more, got {text!r}")
        caps.append(Cap(field, int(most)))
    return tuple(caps)


@click.command()
@address_option
@click.argument("name", metavar="COLLECTION")
@click.option("--vector", help="The query as a JSON array of numbers.")
@click.option("--id", "item_id", help="The query is the vector of this item, itself left out.")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The query is a row of this .npy.",
)
@click.option("--row", type=click.IntRange(0), default=0, show_default=True, help="With --file.")
@click.option("--like", multiple=True, metavar="ID", help="Find items like this; repeatable.")
@click.option(
    "--unlike",
    multiple=True,
    metavar="ID",
    help="And unlike this, with --like, --vector or --file; repeatable.",
)
@click.option("-k", type=int, default=10, show_default=True, help="Hits wanted.")
@click.option("--ef-search", type=int, help="Candidates kept: more find more and take longer.")
@click.option("--exact", is_flag=True, help="Compare every item.")
@click.option(
    "--filter",
    "conditions",
    metavar="JSON",
    help="Find only items that satisfy these conditions on filterable fields.",
)
@click.option(
    "--exclude", type=IDS_FILE, help="Leave out these ids: a .npy, or text, one id a line."
)
@click.option(
    "--exclude-set",
    "exclude_sets",
    multiple=True,
    metavar="NAME",
    help="Leave out the members of this set (see `fanlight sets`); repeatable.",
)
@click.option(
    "--cap",
    "caps",
    multiple=True,
    metavar="FIELD:N",
    callback=_caps,
    help="At most N hits of each value of this field; repeatable.",
)
@click.option(
    "--mmr",
    type=click.FloatRange(0, 1),
    metavar="R",
    help="Choose for novelty: the score counts R, unlikeness to better hits 1 - R.",
)
@click.option(
    "--near-duplicate",
    type=click.FloatRange(-1, 1),
    metavar="C",
    help="No two hits have a greater cosine than this.",
)
@click.option("--threshold", "score_threshold", type=float, help="Leave out hits that score less.")
@click.option("--explain", metavar="ID", help="Tell why this item is, or is not, among the hits.")
@coverage_option
@click.option("--with-payloads", is_flag=True, help="Show the payloads.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def search(
    name: str,
    vector: str | None,
    item_id: str | None,
    file: Path | None,
    row: int,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    conditions: str | None,
    exclude: Path | None,
    caps: tuple[Cap, ...],
    mmr: float | None,
    near_duplicate: float | None,
    explain: str | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Find the items nearest to one query.

    The query is a vector, a stored item, a row of a file, or items to be like and unlike.

    \b
    Examples:
      fanlight search movies --id 42 -k 5 --with-payloads
      fanlight search movies --vector "[0.1, 0.2, 0.3]" --exact
      fanlight search movies --file queries.npy --row 7 --json
      fanlight search movies --id 42 --filter '{"genre": "drama", "year": {"gte": 1990}}'
      fanlight search movies --like 42 --like 7 --unlike 13 --exclude-set seen:u123
      fanlight search movies --id 42 -k 50 --cap seller:2 --mmr 0.7 --near-duplicate 0.98
      fanlight search movies --id 42 --filter '{"genre": "drama"}' --explain 99
    """
    if sum((vector is not None, item_id is not None, file is not None, bool(like))) != 1:
        raise click.UsageError(_WAYS)
    if unlike and item_id is not None:
        raise click.UsageError("--unlike goes with --like, --vector or --file; not with --id.")
    parameters["filter"] = None if conditions is None else parse_filter(conditions)
    slate = Slate(caps, (), None if mmr is None else Mmr(mmr), near_duplicate)
    parameters["slate"] = None if slate == Slate() else slate
    given: Any = None if vector is None else _parse_vector(vector)
    given = given if file is None else _row_of(file, row)
    with connect() as client:
        collection = client.collection(name)
        ids = IdInput(collection)
        if exclude is not None:
            parameters["exclude_ids"] = ids.of_file(exclude, "exclude")
        query = given
        if like or unlike:
            query = _examples(ids, given, like, unlike)
        elif item_id is not None:
            query = fanlight.examples([ids.of_text(item_id, "id")])
        if explain is None:
            show_hits(_found(collection, query, parameters), as_json=as_json)
        else:
            item = ids.of_text(explain, "explain")
            why = collection.explain(query, item, **parameters)
            show_explanation(item, why, as_json=as_json)


def _found(collection: fanlight.Collection, query: Any, parameters: dict[str, Any]) -> Hits:
    """Answer one query; its error is raised as it is, not as one of a batch."""
    hits = collection.search(query, errors="return", **parameters)
    if 0 in hits.errors:
        raise hits.errors[0]
    return hits


def _examples(ids: IdInput, vector: Any, like: tuple[str, ...], unlike: tuple[str, ...]) -> Query:
    """Make one query of items to be like, a vector to be near to, and items to be unlike."""
    more = ids.of_texts(like, "like").tolist() if like else []
    less = ids.of_texts(unlike, "unlike").tolist() if unlike else []
    return fanlight.examples([*more, *([] if vector is None else [vector])], less)


def _parse_vector(text: str) -> list[float]:
    try:
        values = json.loads(text)
    except ValueError:
        raise InvalidRequest.of_field("vector", "a JSON array of numbers", repr(text)) from None
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not numbers:
        raise InvalidRequest.of_field("vector", "a JSON array of numbers", repr(text))
    return list(values)


def _row_of(file: Path, row: int) -> np.typing.NDArray[Any]:
    try:
        queries = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError):
        raise InvalidRequest.of_field("file", "a readable .npy", str(file)) from None
    if not isinstance(queries, np.ndarray) or queries.ndim != 2:
        raise InvalidRequest.of_field("file", "a matrix, one query a row", str(file))
    if row >= len(queries):
        raise InvalidRequest.of_field("row", f"0 to {len(queries) - 1}", str(row))
    return np.asarray(queries[row])
