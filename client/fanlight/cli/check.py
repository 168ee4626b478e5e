"""`fanlight check`: is the data of a shard sound? The server's package does the work."""

from __future__ import annotations

import subprocess
import sys

import click


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--repair", is_flag=True, help="Rebuild what is derived; no item is touched.")
@click.option(
    "--drop-damaged-rows",
    is_flag=True,
    help="With --repair: give up items that cannot be read; they are named.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(directory: str, repair: bool, drop_damaged_rows: bool, as_json: bool) -> None:
    """Check the data directory of a shard that does not run.

    Every checksum of every file is compared, and the files with each other. Exit status: 0 sound
    (or all repaired), 1 findings, 2 wrong usage or a directory in use.

    \b
    Example:
      fanlight check ./fanlight-data/shard-0 && echo sound
    """
    options = {"--repair": repair, "--drop-damaged-rows": drop_damaged_rows, "--json": as_json}
    argv = [option for option, given in options.items() if given]
    # -P: nothing is imported from the directory that this was called in.
    program = [sys.executable, "-P", "-m", "fanlight_server.check", *argv, "--", directory]
    sys.exit(subprocess.run(program, check=False).returncode)
