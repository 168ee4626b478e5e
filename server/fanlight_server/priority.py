"""Which threads come first where cores are short: messages, then searches, then builds.

A niceness is for good: a thread may lower its priority, and only the privileged may raise it again.
"""

from __future__ import annotations

import os
import sys
import threading

# A refusal, or an answer that is done, is no work and should not wait for that of others: where exact
# searches took both cores, the median of refusals fell from 16 to 10 ms (docs/adr/0022).
SEARCHES = 5
BUILDS = 15


def give_way(niceness: int) -> None:
    """Lower the priority of the calling thread, and of those that it will start (Linux)."""
    if sys.platform == "linux":  # elsewhere a priority is the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
