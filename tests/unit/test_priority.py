"""Threads that give way."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from fanlight_server.priority import give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has it by thread")


def niceness_after(*steps: int) -> int:
    """Let a thread of its own give way several times; tell its niceness then."""
    told: list[int] = []

    def run() -> None:
        for step in steps:
            give_way(step)
        told.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return told[0]


def test_a_thread_gives_way_alone() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert niceness_after(before + 5) == before + 5
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_who_has_given_way_more_stays_there() -> None:
    """Without the privilege to rise again that would be an error."""
    assert niceness_after(15, 5) == 15
