"""VectorDBBench's command line with Fanlight in it.

Its measurements run in spawned processes, which import this module again and so know Fanlight;
a `__main__` module would not be imported there.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from vectordb_bench.cli.vectordbbench import cli

from . import command, register

__all__ = ["command", "register"]

if __name__ == "__main__":
    cli()
