"""`fanlight status`: how a cluster stands."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.text import Text

from fanlight.cli.session import address_option, connect
from fanlight.cli.show import info_as_json, out, show_json, show_note, state, table
from fanlight.cluster import ClusterStatus, ShardStatus
from fanlight.model import CollectionInfo

_NUMBERS = ("Items", "Unindexed", "Segments")


@click.command()
@address_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(as_json: bool) -> None:
    """Show the shards, their health and what they hold.

    Unindexed items are not in a graph yet; they are searched exactly.

    \b
    Example:
      fanlight status --json | jq .complete
    """
    with connect() as client:
        cluster = client.status()
    if as_json:
        show_json(_as_json(cluster))
    else:
        _show(cluster)


def _show(cluster: ClusterStatus) -> None:
    made = table("Shard", "State", "Address", "Collection", *_NUMBERS, right=_NUMBERS)
    for shard in cluster.shards:
        lead: tuple[str | Text, ...] = (shard.identity.name, state(shard.state), shard.address)
        for info in _live(shard):
            numbers = (f"{info.items:,}", f"{info.unindexed_items:,}", str(info.segments))
            building = ", ".join(info.building_fields)
            note = f" (building {building})" if building else ""
            made.add_row(*lead, Text(info.spec.name + note), *numbers)
            lead = ("", "", "")
        if lead[0]:
            made.add_row(*lead)
    serving = [shard for shard in cluster.shards if shard.state.answers]
    items = sum(shard.items for shard in serving)
    name, total = escape(cluster.cluster), len(cluster.shards)
    out.print(
        f"Cluster [bold]{name}[/bold]: {len(serving)} of {total} shards serve {items:,} items\n"
    )
    out.print(made)
    for shard in cluster.shards:
        if shard.error is not None:
            show_note(f"{shard.identity.name}: {shard.error}")


def _live(shard: ShardStatus) -> list[CollectionInfo]:
    return [info for info in shard.collections if not info.deleted]


def _as_json(cluster: ClusterStatus) -> dict[str, Any]:
    return {
        "cluster": cluster.cluster,
        "version": cluster.version,
        "complete": cluster.complete,
        "shards": [
            {
                "name": shard.identity.name,
                "state": shard.state.value,
                "address": shard.address,
                "error": None if shard.error is None else str(shard.error),
                "version": shard.version,
                "data_id": shard.data_id,
                "collections": [info_as_json(info) for info in _live(shard)],
            }
            for shard in cluster.shards
        ],
    }
