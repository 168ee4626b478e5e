"""The cluster that a subcommand talks to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

import fanlight

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULT = "localhost:7700"
_KEY = "fanlight.address"


def address_option(command: F) -> F:
    """Give a command `--address`; it may stand before or after a subcommand, the last one wins."""
    return click.option(
        "--address",
        metavar="HOST:PORT",
        expose_value=False,
        callback=_remember,
        envvar="FANLIGHT_ADDRESS",
        help=f"A router's (or one shard's) address; several with commas. Default: {_DEFAULT}",
    )(command)


def _remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().meta[_KEY] = value


def connect() -> fanlight.Client:
    """Open a client for the address that was given."""
    addresses = click.get_current_context().find_root().meta.get(_KEY, _DEFAULT)
    return fanlight.Client(addresses.split(","))
