"""`fanlight up`: a local cluster in the foreground."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from fanlight.cli.local_cluster import ROUTER, LocalCluster
from fanlight.cli.local_config import load_local
from fanlight.cli.process import Process
from fanlight.cli.show import out, show_error, show_note


@click.command()
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--shards", type=int, metavar="N", help="Shard servers. Default: 3")
@click.option("--data", metavar="DIR", help="Where data and logs go. Default: fanlight-data")
@click.option(
    "--port", type=int, metavar="P", help="The router's; shards take the next. Default: 7700"
)
def up(file: Path | None, shards: int | None, data: str | None, port: int | None) -> None:
    """Run a cluster on this machine until Ctrl-C.

    Starts shard servers and a router as processes of their own, on loopback only. FILE is a YAML
    file with the sections cluster, server and router, such as deploy/local/three-shards.yaml;
    the options win over it. Port 0 takes free ports.

    \b
    Example:
      fanlight up --shards 2 --data /tmp/vectors --port 7800
    """
    flags = {"shards": shards, "data": data, "port": port}
    given = [
        f"cluster.{key}={json.dumps(value)}" for key, value in flags.items() if value is not None
    ]
    config = load_local(file, given)
    cluster = LocalCluster(config)
    _handle_signals(cluster)
    try:
        with cluster:
            _run(cluster)
    except KeyboardInterrupt:
        show_note("Stopped.")


def _handle_signals(cluster: LocalCluster) -> None:
    """Stop in order at the first Ctrl-C (or the end of the terminal or service), kill at others.

    The others only kill and raise nothing, since they may come at any point of the stop; what
    waits for the processes then goes on.
    """
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if seen:
            for process in cluster.processes:
                process.kill()
        else:
            seen.append(number)
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)


def _run(cluster: LocalCluster) -> None:
    """Report what starts and what ends; return never, unless the router ends."""
    try:
        _announce(cluster)
        while (ended := cluster.wait_for_end()).name != ROUTER:
            _report(ended, "its part of the answers is missing")
    except KeyboardInterrupt:
        show_note("Stopping the router, then the shards; Ctrl-C again kills them.")
        raise
    _report(ended, "nothing is served without it; stopping the shards")
    cluster.stop()
    sys.exit(1)


def _announce(cluster: LocalCluster) -> None:
    for process in cluster.processes:
        data = process.program.data or ""
        click.echo(f"{process.name:<9} pid {process.pid:<8} {process.address:<16} {data}".rstrip())
    out.print(f"Ready. Connect to [bold]{cluster.address}[/bold]; Ctrl-C stops the cluster.")


def _report(ended: Process, consequence: str) -> None:
    show_error(
        f"{ended.name} (pid {ended.pid}) {ended.ending()}: {consequence}. "
        f"See {ended.program.log_path}"
    )
