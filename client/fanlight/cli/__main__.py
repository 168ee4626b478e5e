"""The entry of `fanlight`: it says what is missing when only the SDK is installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from fanlight.cli.app import run

        run()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "fanlight":
            raise
        needs = f"the command line needs {missing.name}, which is not installed"
        sys.exit(f"{needs}; pip install 'fanlight[all]' brings it")


if __name__ == "__main__":
    main()
