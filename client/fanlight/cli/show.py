"""How the command line shows things: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanlight.cluster import ShardState
from fanlight.errors import InvalidRequest
from fanlight.model import CollectionInfo, Coverage

# What is piped into another program is not folded to the 80 columns that rich assumes there.
_PIPED_COLUMNS = 250

out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
err = Console(stderr=True, highlight=False)

_STATE_STYLES = {
    ShardState.SERVING: "green",
    ShardState.READ_ONLY: "yellow",
    ShardState.NOT_SERVING: "yellow",
}


def table(*columns: str, title: str | None = None, right: tuple[str, ...] = ()) -> Table:
    """Make a table; the columns named in `right` hold numbers."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    made.box, made.pad_edge = None, False
    for column in columns:
        if column in right:
            made.add_column(column, justify="right", no_wrap=True)
        else:
            made.add_column(column, overflow="fold")
    return made


def parse_filter(text: str) -> dict[str, Any]:
    """Read the conditions of a filter, as docs/filters.md has them.

    Raises:
        InvalidRequest: no JSON object.
    """
    try:
        conditions = json.loads(text)
    except ValueError:
        conditions = None
    if not isinstance(conditions, dict):
        raise InvalidRequest.of_field("filter", "a JSON object of conditions", repr(text))
    return conditions


def show_json(value: object) -> None:
    """Print a value for a script."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def show_error(message: str) -> None:
    """Print an error, in red where that can be seen."""
    err.print(Text(message, style="red"), soft_wrap=True)


def show_note(message: str) -> None:
    """Print what a reader of the output should know but a script should not read."""
    err.print(Text(message, style="yellow"), soft_wrap=True)


def state(value: ShardState) -> Text:
    """Show a shard's state in its colour."""
    return Text(value.value.replace("_", " "), style=_STATE_STYLES.get(value, "red"))


def info_as_json(info: CollectionInfo) -> dict[str, Any]:
    """Turn a collection into JSON values."""
    spec = info.spec
    return {
        "name": spec.name,
        "dim": spec.dim,
        "metric": spec.metric.value,
        "id_type": spec.id_type.value,
        "m": spec.m,
        "ef_construction": spec.ef_construction,
        "ef_search": spec.ef_search,
        "filterable": dict(spec.filterable),
        "items": info.items,
        "unindexed_items": info.unindexed_items,
        "segments": info.segments,
        "restoring": info.restoring,
        "building_fields": list(info.building_fields),
    }


def coverage_as_json(coverage: Coverage) -> dict[str, Any]:
    """Turn a coverage into JSON values."""
    return {
        "shards_total": coverage.shards_total,
        "shards_answered": coverage.shards_answered,
        "items_total": coverage.items_total,
        "items_covered": coverage.items_covered,
        "failures": {failure.shard: str(failure.error) for failure in coverage.failures},
    }


def note_coverage(coverage: Coverage) -> None:
    """Say what an answer leaves out, if it leaves out anything."""
    if coverage.complete:
        return
    total = "an unknown number" if coverage.items_total is None else f"{coverage.items_total:,}"
    show_note(
        f"Partial: {coverage.shards_answered} of {coverage.shards_total} shards answered, with "
        f"{coverage.items_covered:,} of {total} items."
    )
    for failure in coverage.failures:
        show_note(f"  {failure.shard}: {failure.error}")
