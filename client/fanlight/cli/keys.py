"""`fanlight keys`: who may call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from fanlight.access.key_store import change_keys
from fanlight.access.keys import ROLE_NAMES, KeyRecord, digest_of, new_key, read_keys
from fanlight.cli.show import out, show_json, show_note, table
from fanlight.errors import AlreadyExists, InvalidRequest, NotFound

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}

_file = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("keys.yaml"),
    show_default=True,
    envvar="FANLIGHT_KEYS",
    help="The file of keys: the servers' access.keys.",
)


@click.group()
def keys() -> None:
    """Make, list and revoke API keys.

    The file holds hashes only. Servers take changes within seconds, without a restart. To replace
    a key, create another one, hand it out, and revoke the old one.
    """


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLE_NAMES), required=True, help="What it allows.")
@click.option(
    "--collections",
    default="*",
    show_default=True,
    metavar="A,B*",
    help="Names or globs of collections, with commas.",
)
@click.option("--expires", metavar="WHEN", help="In 90d, 12h or 30m, or at 2027-01-31T00:00:00Z.")
@_file
def create(name: str, role: str, collections: str, expires: str | None, file: Path) -> None:
    """Make a key, and print it: it is shown this once.

    \b
    read     search, read, count and describe
    write    also write and delete items
    admin    also create and delete collections, see the cluster's status, and accept data
    cluster  for routers, towards their shards

    \b
    Example:
      fanlight keys create recommender --role read --collections 'movies,shop-*' --expires 90d
    """
    key = new_key()
    record = _record(name, digest_of(key).hex(), role, collections.split(","), expires)

    def add(held: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        if any(other.name == record.name for other in held):
            raise AlreadyExists(
                f"a key named {name} is there; revoke it first, or take another name"
            )
        return (*held, record)

    change_keys(file, add)
    show_note(f"Key {name} ({role}) is in {file}. It is not shown again:")
    click.echo(key)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_file
def list_keys(as_json: bool, file: Path) -> None:
    """Show who holds keys, and what for; never the keys.

    \b
    Example:
      fanlight keys list --json
    """
    records = read_keys(str(file))
    if as_json:
        show_json([_as_json(record) for record in records])
        return
    made = table("Name", "Role", "Collections", "Expires")
    for record in records:
        made.add_row(record.name, record.role, ", ".join(record.collections), _expiry(record))
    out.print(made)


@keys.command()
@click.argument("name")
@_file
def revoke(name: str, file: Path) -> None:
    """Remove a key. Servers refuse it within seconds, and end the streams that it opened.

    \b
    Example:
      fanlight keys revoke recommender
    """

    def remove(held: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        kept = tuple(record for record in held if record.name != name)
        if len(kept) == len(held):
            raise NotFound(f"no key named {name} is in {file}")
        return kept

    change_keys(file, remove)
    show_note(f"Key {name} is revoked.")


def _record(
    name: str, digest: str, role: str, collections: Sequence[str], expires: str | None
) -> KeyRecord:
    given = {"name": name, "sha256": digest, "role": role, "collections": tuple(collections)}
    when = None if expires is None else _moment(expires)
    try:
        return TypeAdapter(KeyRecord).validate_python({**given, "expires": when})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise InvalidRequest(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def _moment(text: str) -> datetime:
    span = _SPAN.fullmatch(text)
    if span is not None:
        return datetime.now(UTC).replace(microsecond=0) + timedelta(
            **{_UNITS[span[2]]: int(span[1])}
        )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        expected = "90d, 12h, 30m, or a time with its zone (2027-01-31T00:00:00Z)"
        raise InvalidRequest.of_field("expires", expected, repr(text))
    return moment


def _expiry(record: KeyRecord) -> str:
    if record.expires is None:
        return "never"
    text = record.expires.isoformat(timespec="minutes")
    return f"{text} (over)" if record.expires <= datetime.now(UTC) else text


def _as_json(record: KeyRecord) -> dict[str, object]:
    return {
        "name": record.name,
        "role": record.role,
        "collections": list(record.collections),
        "expires": None if record.expires is None else record.expires.isoformat(),
    }
