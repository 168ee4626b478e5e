"""Which threads come first where cores are short: messages, then searches, then builds."""

from __future__ import annotations

import os
import sys
import threading

import fanlight_kernel as kernel

# A refusal, or an answer that is done, is no work and should not wait for that of others; see
# docs/adr/0021.
SEARCHES = 5
BUILDS = 15


def give_way(niceness: int) -> None:
    """Lower the priority of the calling thread, and of those that it will start (Linux).

    For good: only the privileged may raise it again. A thread that has given way more stays so.
    """
    if sys.platform == "linux":  # elsewhere a priority is the whole process's
        thread = threading.get_native_id()
        lowest = max(niceness, os.getpriority(os.PRIO_PROCESS, thread))
        os.setpriority(os.PRIO_PROCESS, thread, lowest)


def give_way_to_messages(helpers: int) -> None:
    """Lower the priority of a thread that searches, and of so many of the kernel's that help it."""
    give_way(SEARCHES)
    kernel.start_threads(helpers)
