"""A shard server that is broken on purpose: it acknowledges writes before it commits them.

The positive control of `tests.faults.kill`. No program contains this switch.
"""

from __future__ import annotations

import sys
import time

from fanlight_server import collection
from fanlight_server.__main__ import main
from fanlight_server.collection import Answer, Write
from fanlight_server.storage.writer import GroupWriter

COMMIT_EVERY_S = 0.25


class HastyWriter(GroupWriter[Write, Answer]):
    """Answers first."""

    def _run(self) -> None:
        while group := self._next_group():
            for pending in group:
                pending.done.set_result(pending.job.answer(0))
            # As a store that commits every so often; so nearly every kill loses something.
            time.sleep(COMMIT_EVERY_S)
            self._apply([pending.job for pending in group])


if __name__ == "__main__":
    setattr(collection, "GroupWriter", HastyWriter)  # noqa: B010  no part of its interface
    sys.exit(main())
