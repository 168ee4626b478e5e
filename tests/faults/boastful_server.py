"""A shard server that is broken on purpose: it acknowledges what a full disk did not take.

The positive control of `tests.faults.disk_full`. No program contains this switch.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable

from fanlight.errors import Overloaded
from fanlight_server.__main__ import main
from fanlight_server.keeper import SegmentKeeper
from fanlight_server.storage.sets import SetChange
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Change

_write = Store.write


def _write_boastfully(self: Store, changes: Iterable[Change | SetChange]) -> None:
    """Take no notice of a full disk."""
    with contextlib.suppress(Overloaded):
        _write(self, changes)


def _never_refuse(self: SegmentKeeper) -> None:
    """Let every write through to the store."""


def _never_wait(self: SegmentKeeper) -> int:
    """Take any number of rows."""
    return 1 << 30


if __name__ == "__main__":
    Store.write = _write_boastfully  # type: ignore[method-assign]
    SegmentKeeper.check_writable = _never_refuse  # type: ignore[method-assign]
    SegmentKeeper.wait_for_room = _never_wait  # type: ignore[method-assign]
    sys.exit(main())
