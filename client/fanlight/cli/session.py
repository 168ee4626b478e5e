"""The cluster that a subcommand talks to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

import fanlight
from fanlight.errors import NotReady, PartialResult

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


def coverage_option(command: F) -> F:
    """Give a command `--min-coverage`."""
    return click.option(
        "--min-coverage",
        type=float,
        default=1.0,
        show_default=True,
        help="Least share of the shards that must answer.",
    )(command)


def _remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().meta[_KEY] = value


@contextmanager
def connect() -> Iterator[fanlight.Client]:
    """Open a client for the address that was given.

    Raises:
        NotReady: nothing serves there; the message says how to start a cluster.
    """
    address = click.get_current_context().find_root().meta.get(_KEY, _DEFAULT)
    with fanlight.Client(address.split(",")) as client:
        try:
            yield client
        except PartialResult:
            raise
        except NotReady as error:
            hint = "`fanlight up` starts a cluster on this machine"
            raise NotReady(f"no answer from {address}; {hint} ({error})") from None
