"""The command `fanlight` and how its subcommands reach a cluster and report errors.

Laws: an error of Fanlight is one message on stderr and exit status 1, never a traceback. What a
script reads goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys

import click

from fanlight.cli.collection import collections
from fanlight.cli.demo import demo
from fanlight.cli.load import load
from fanlight.cli.search import search
from fanlight.cli.session import address_option
from fanlight.cli.show import show_error
from fanlight.cli.status import status
from fanlight.cli.up import up
from fanlight.errors import FanlightError


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here: `fanlight demo`, or `fanlight up` and then `fanlight status`.",
)
@click.version_option(package_name="fanlight")
@address_option
def cli() -> None:
    """Fanlight: sharded vector search over gRPC."""


for command in (up, status, collections, load, search, demo):
    cli.add_command(command)


def run() -> None:
    """Run the command line, and exit with its status."""
    try:
        cli(prog_name="fanlight")
    except FanlightError as error:
        show_error(str(error))
        for row in error.rows[:10]:
            show_error(f"  row {row.row}: {row.error}")
        sys.exit(1)
