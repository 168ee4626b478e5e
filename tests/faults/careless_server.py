"""A shard server that is broken on purpose: its store does not sync what it acknowledges.

The positive control of `tests.faults.power_cut`. No program contains this switch.
"""

from __future__ import annotations

import sys

from fanlight_server.__main__ import main
from fanlight_server.storage.store import Store

_prepare = Store._prepare


def _prepare_carelessly(self: Store, create: bool) -> None:
    """Leave it to the system when anything reaches the disk."""
    _prepare(self, create)
    self._writer.execute("PRAGMA synchronous = OFF")


if __name__ == "__main__":
    Store._prepare = _prepare_carelessly  # type: ignore[method-assign]
    sys.exit(main())
