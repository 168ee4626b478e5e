"""`python -m fanlight_server.check DIR`: what `fanlight check` runs.

Exit codes: 0 sound (or all repaired), 1 findings, 2 wrong usage, or a directory that is no
shard's or in use.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fanlight_server.check.directory import NoDataDirectory, check, check_and_repair
from fanlight_server.storage.files import DirectoryInUse

EXIT_FINDINGS = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Check a directory, print what was found; give the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.drop_damaged_rows and not arguments.repair:
        parser.error("--drop-damaged-rows is a way to repair: give --repair as well")
    try:
        if arguments.repair:
            report = check_and_repair(
                arguments.directory, drop_damaged_rows=arguments.drop_damaged_rows
            )
        else:
            report = check(arguments.directory)
    except (DirectoryInUse, NoDataDirectory, OSError) as error:
        sys.stderr.write(f"fanlight check: {error}\n")
        return EXIT_USAGE
    shown = json.dumps(report.as_json(), indent=2) if arguments.json else report.text()
    sys.stdout.write(shown + "\n")
    return 0 if report.sound else EXIT_FINDINGS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fanlight check", description="Check the data directory of a shard that does not run."
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="data directory of a shard")
    parser.add_argument("--repair", action="store_true", help="rebuild what is derived")
    parser.add_argument(
        "--drop-damaged-rows",
        action="store_true",
        help="with --repair: give up items that cannot be read; they are named",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
