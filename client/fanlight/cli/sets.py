"""`fanlight sets`: sets of ids, held by the servers, that searches can exclude by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

import fanlight
from fanlight.cli.id_input import IDS_FILE, IdInput
from fanlight.cli.session import address_option, connect
from fanlight.cli.show import out, show_json

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
@address_option
def sets() -> None:
    """Write and read sets of ids that searches can exclude by name.

    A set exists from the first append to the last removal; an unknown name is an empty set.
    """


def _set_arguments(command: F) -> F:
    """Give a command the collection, the set's name, and `--json`."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    command = click.argument("name")(command)
    return click.argument("collection", metavar="COLLECTION")(address_option(command))


def _ids_arguments(command: F) -> F:
    """Give a command the ids, and `--from`."""
    option = click.option(
        "--from", "file", type=IDS_FILE, help="More ids: a .npy, or text, one id a line."
    )
    return click.argument("ids", nargs=-1)(option(command))


def _show_members(name: str, members: int, as_json: bool) -> None:
    if as_json:
        show_json({"name": name, "members": members})
    else:
        out.print(f"{name}: {members:,} member{'' if members == 1 else 's'}.", markup=False)


@sets.command()
@_set_arguments
@_ids_arguments
@click.option("--ttl", type=float, metavar="SECONDS", help="Time to live. Default: for ever.")
def append(
    collection: str,
    name: str,
    ids: tuple[str, ...],
    file: Path | None,
    ttl: float | None,
    as_json: bool,
) -> None:
    """Add ids; one that is there gets the new time to live.

    \b
    Examples:
      fanlight sets append movies seen:u123 42 7 --ttl 2592000
      fanlight sets append movies blocked --from blocked.txt
    """
    with connect() as client:
        handle = client.collection(collection)
        members = handle.sets.append(name, IdInput(handle).of_both(ids, file), ttl=ttl)
    _show_members(name, members, as_json)


@sets.command()
@_set_arguments
@_ids_arguments
def remove(
    collection: str, name: str, ids: tuple[str, ...], file: Path | None, as_json: bool
) -> None:
    """Take ids out.

    \b
    Example:
      fanlight sets remove movies seen:u123 42
    """
    with connect() as client:
        handle = client.collection(collection)
        members = handle.sets.remove(name, IdInput(handle).of_both(ids, file))
    _show_members(name, members, as_json)


@sets.command()
@_set_arguments
@click.option("--ttl", type=float, metavar="SECONDS", required=True, help="Time to live from now.")
def expire(collection: str, name: str, ttl: float, as_json: bool) -> None:
    """Give all members of now a time to live.

    \b
    Example:
      fanlight sets expire movies seen:u123 --ttl 86400
    """
    with connect() as client:
        members = client.collection(collection).sets.expire(name, ttl)
    _show_members(name, members, as_json)


@sets.command()
@_set_arguments
def count(collection: str, name: str, as_json: bool) -> None:
    """Count the members.

    \b
    Example:
      fanlight sets count movies seen:u123
    """
    with connect() as client:
        members = client.collection(collection).sets.count(name)
    _show_members(name, members, as_json)


@sets.command()
@_set_arguments
def get(collection: str, name: str, as_json: bool) -> None:
    """Print the members, one a line, ascending: as --from and --exclude take them.

    \b
    Example:
      fanlight sets get movies seen:u123 > seen.txt
    """
    with connect() as client:
        ids = client.collection(collection).sets.get(name).tolist()
    if as_json:
        show_json({"name": name, "ids": ids})
    else:
        click.echo("".join(f"{id_}\n" for id_ in ids), nl=False)


@sets.command()
@_set_arguments
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(collection: str, name: str, yes: bool, as_json: bool) -> None:
    """Take all members out.

    \b
    Example:
      fanlight sets delete movies seen:u123 --yes
    """
    with connect() as client:
        held: fanlight.Sets = client.collection(collection).sets
        members = held.count(name)
        if not yes:
            click.confirm(f"Delete {name} and its {members:,} members?", abort=True, err=True)
        held.delete(name)
    if as_json:
        show_json({"name": name, "deleted": members})
    else:
        out.print(f"Deleted {name} with {members:,} members.", markup=False)
