"""The cluster that a subcommand talks to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

import fanlight
from fanlight.access.secret import read_secret
from fanlight.errors import NotReady, PartialResult

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULT = "localhost:7700"
_KEY = "fanlight."

# There is no option that takes a key itself: every user of the machine can read command lines.
_OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    (
        "--address",
        "HOST:PORT",
        "FANLIGHT_ADDRESS",
        f"A router's (or one shard's) address; several with commas. Default: {_DEFAULT}",
    ),
    (
        "--api-key-file",
        "FILE",
        "FANLIGHT_API_KEY_FILE",
        "Holds the API key. FANLIGHT_API_KEY may hold the key itself.",
    ),
    ("--tls-ca", "FILE", "FANLIGHT_TLS_CA", "Authorities that vouch for the server (PEM)."),
    ("--tls-cert", "FILE", "FANLIGHT_TLS_CERT", "Own certificate (PEM)."),
    ("--tls-key", "FILE", "FANLIGHT_TLS_KEY", "Private key of the certificate (PEM)."),
    (
        "--tls-server-name",
        "NAME",
        "FANLIGHT_TLS_SERVER_NAME",
        "Name in the server's certificate, if it is not the host's.",
    ),
)


def address_option(command: F) -> F:
    """Give a command `--address` and the others that say how to connect.

    They may stand before or after a subcommand; the last one wins.
    """
    for name, metavar, variable, text in reversed(_OPTIONS):
        command = click.option(
            name,
            metavar=metavar,
            expose_value=False,
            callback=_remember,
            envvar=variable,
            help=text,
        )(command)
    return click.option(
        "--insecure",
        is_flag=True,
        default=None,
        expose_value=False,
        callback=_remember,
        help="Send the API key to other hosts in plain text; for trusted networks.",
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


def _remember(context: click.Context, option: click.Parameter, value: object) -> None:
    if value is not None:
        context.find_root().meta[_KEY + str(option.name)] = value


def _given(name: str, default: Any = "") -> Any:
    """Read an option that was remembered."""
    return click.get_current_context().find_root().meta.get(_KEY + name, default)


def _client(address: str) -> fanlight.Client:
    tls = fanlight.Tls(*(_given(f"tls_{part}") for part in ("ca", "cert", "key", "server_name")))
    key_file = _given("api_key_file")
    return fanlight.Client(
        address.split(","),
        tls=None if tls == fanlight.Tls() else tls,
        api_key=read_secret(key_file) if key_file else None,
        insecure=_given("insecure", False),
    )


@contextmanager
def connect() -> Iterator[fanlight.Client]:
    """Open a client for the address that was given.

    Raises:
        NotReady: nothing serves there; the message says how to start a cluster.
    """
    address = _given("address", _DEFAULT)
    with _client(address) as client:
        try:
            yield client
        except PartialResult:
            raise
        except NotReady as error:
            hint = "`fanlight up` starts a cluster on this machine"
            raise NotReady(f"no answer from {address}; {hint} ({error})") from None
