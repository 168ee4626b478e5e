"""The command `fanlight`: its subcommands, and how errors are reported.

Laws: an error of Fanlight is a message on stderr and exit status 1, never a traceback. What a
script reads goes to stdout, everything else to stderr. A subcommand is imported when it is used:
most need few of the libraries, and start in half of the time.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from fanlight.cli.session import address_option
from fanlight.cli.show import show_error
from fanlight.errors import FanlightError

# Where each subcommand stands: its module and its name there.
_COMMANDS = {
    "accept": ("accept", "accept"),
    "check": ("check", "check"),
    "collections": ("collection", "collections"),
    "demo": ("demo", "demo"),
    "eval": ("evaluate", "evaluate"),
    "export": ("export", "export"),
    "keys": ("keys", "keys"),
    "load": ("load", "load"),
    "map": ("map", "draw_map"),
    "restore": ("snapshot", "restore"),
    "search": ("search", "search"),
    "sets": ("sets", "sets"),
    "snapshot": ("snapshot", "snapshot"),
    "status": ("status", "status"),
    "up": ("up", "up"),
}
_ROWS_SHOWN = 10


class Subcommands(click.Group):
    """Finds subcommands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand; None when there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"fanlight.cli.{module}"), name)
        return command


@click.group(
    cls=Subcommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here: `fanlight demo`, or `fanlight up` and then `fanlight status`.",
)
@click.version_option(package_name="fanlight")
@address_option
def cli() -> None:
    """Fanlight: sharded vector search over gRPC."""


def run() -> None:
    """Run the command line, and exit with its status."""
    try:
        cli(prog_name="fanlight")
    except FanlightError as error:
        show_error(str(error))
        for row in error.rows[:_ROWS_SHOWN]:
            show_error(f"  row {row.row}: {row.error}")
        sys.exit(1)
