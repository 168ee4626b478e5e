"""`fanlight search`: the nearest items of one query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.text import Text

import fanlight
from fanlight.cli.session import address_option, connect, coverage_option
from fanlight.cli.show import coverage_as_json, note_coverage, out, parse_filter, show_json, table
from fanlight.errors import InvalidRequest
from fanlight.ids import to_column
from fanlight.model import Hits, IdColumn, IdType


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
@click.option("-k", type=int, default=10, show_default=True, help="Hits wanted.")
@click.option("--ef-search", type=int, help="Candidates kept: more find more and take longer.")
@click.option("--exact", is_flag=True, help="Compare every item.")
@click.option(
    "--filter",
    "conditions",
    metavar="JSON",
    help="Find only items that satisfy these conditions on filterable fields.",
)
@coverage_option
@click.option("--with-payloads", is_flag=True, help="Show the payloads.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def search(
    name: str,
    vector: str | None,
    item_id: str | None,
    file: Path | None,
    row: int,
    conditions: str | None,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Find the items nearest to one query.

    The query is a vector, a stored item, or a row of a file.

    \b
    Examples:
      fanlight search movies --id 42 -k 5 --with-payloads
      fanlight search movies --vector "[0.1, 0.2, 0.3]" --exact
      fanlight search movies --file queries.npy --row 7 --json
      fanlight search movies --id 42 --filter '{"genre": "drama", "year": {"gte": 1990}}'
    """
    if sum(given is not None for given in (vector, item_id, file)) != 1:
        raise click.UsageError("Give exactly one of --vector, --id and --file.")
    parameters["filter"] = None if conditions is None else parse_filter(conditions)
    with connect() as client:
        collection = client.collection(name)
        if item_id is not None:
            hits = collection.search_by_id(
                _item_id(collection, item_id), errors="return", **parameters
            )
        else:
            query = _parse_vector(vector) if file is None else _row_of(file, row)
            hits = collection.search(query, errors="return", **parameters)
    if 0 in hits.errors:
        raise hits.errors[0]
    if as_json:
        show_json({"hits": _rows(hits), "coverage": coverage_as_json(hits.coverage)})
    else:
        _show(hits)


def _item_id(collection: fanlight.Collection, text: str) -> IdColumn:
    """Read an id as this collection's ids are; a column of one."""
    if collection.info(min_coverage=0).spec.id_type is IdType.STRING:
        return to_column([text])
    try:
        return to_column([int(text)], field="id")
    except ValueError:
        raise InvalidRequest.of_field("id", "an integer (this collection's ids)", text) from None


def _parse_vector(text: str | None) -> list[float]:
    try:
        values = json.loads(text or "")
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


def _rows(hits: Hits) -> list[dict[str, Any]]:
    count = int(hits.counts[0])
    found = zip(hits.ids[0, :count].tolist(), hits.scores[0, :count].tolist(), strict=True)
    rows: list[dict[str, Any]] = [{"id": item, "score": score} for item, score in found]
    if hits.payloads is not None:
        for hit, payload in zip(rows, hits.payloads[0], strict=True):
            hit["payload"] = payload
    return rows


def _show(hits: Hits) -> None:
    payloads = hits.payload_blobs is not None
    made = table("#", "Id", "Score", *(["Payload"] if payloads else []), right=("#", "Score"))
    for rank, hit in enumerate(_rows(hits), 1):
        cells: list[str | Text] = [str(rank), Text(str(hit["id"])), f"{hit['score']:.4f}"]
        if payloads:
            cells.append(Text(json.dumps(hit["payload"], ensure_ascii=False)))
        made.add_row(*cells)
    out.print(made)
    note_coverage(hits.coverage)
