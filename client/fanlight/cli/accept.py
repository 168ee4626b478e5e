"""`fanlight accept`: settle that a shard stands on other data than before."""

from __future__ import annotations

import click

from fanlight.cli.session import address_option, connect
from fanlight.cli.show import out, show_note, state
from fanlight.client import Client
from fanlight.cluster import ShardState, ShardStatus
from fanlight.errors import InvalidRequest, WrongShard


@click.command()
@address_option
@click.argument("shard")
@click.option("--yes", is_flag=True, help="Do not ask.")
def accept(shard: str, yes: bool) -> None:
    """Take what a shard stands on now for its data.

    A shard that is refused as `mismatched`, since its data directory is not the one that the other
    shards know, serves again over what is there. What it had before is given up: even if it is found
    again, it is refused from then on. The shards that know it (8 to either side, by index) have to be
    there. See docs/operations.md first.

    \b
    Example:
      fanlight accept shard-1
    """
    with connect() as client:
        found = _found(client, shard)
        if found.state.answers:
            show_note(f"{shard} is {found.state.value}: there is nothing to accept.")
            return
        if found.state is not ShardState.MISMATCHED or not found.data_id:
            raise WrongShard(f"{shard} is {found.state.value}: {found.error}")
        show_note(str(found.error))
        if not yes:
            click.confirm(f"Give up what {shard} had before?", abort=True, err=True)
        client.accept_data(found)
        found = _found(client, shard)
    out.print(f"{shard} is", state(found.state), "now.")


def _found(client: Client, name: str) -> ShardStatus:
    shards = {status.identity.name: status for status in client.status().shards}
    if name not in shards:
        raise InvalidRequest.of_field("shard", " or ".join(shards), repr(name))
    return shards[name]
