"""A shard server that is broken on purpose: it acknowledges what a full disk did not take.

The positive control of `tests.faults.disk_full`. No program contains this switch.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable

from fanlight.errors import Overloaded
from fanlight_server.__main__ import main
from fanlight_server.storage.store import Change, Store

_write = Store.write


def _write_boastfully(store: Store, changes: Iterable[Change]) -> None:
    """Take no notice of a full disk."""
    store._disk._shortage = None
    with contextlib.suppress(Overloaded):
        _write(store, changes)


if __name__ == "__main__":
    Store.write = _write_boastfully  # type: ignore[method-assign]
    sys.exit(main())
