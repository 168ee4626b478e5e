"""The threads that help searches."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fanlight_kernel as kernel

# In a process of its own, whose pool is not started yet: prints the niceness of each of its threads.
STARTED = """
import contextlib, os, pathlib, threading
import fanlight_kernel as kernel

def start():
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
    kernel.start_threads(2)
    kernel.start_threads(1)

starter = threading.Thread(target=start)
starter.start()
starter.join()
for task in pathlib.Path("/proc/self/task").iterdir():
    with contextlib.suppress(OSError):  # the starter's is there until the system has ended it
        if task.joinpath("comm").read_text() == "fanlight-kernel\\n":
            print(os.getpriority(os.PRIO_PROCESS, int(task.name)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities on Linux alone")
def test_threads_start_with_the_priority_of_the_caller() -> None:
    """As many as asked for, once."""
    ran = subprocess.run(
        [sys.executable, "-c", STARTED], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == ["5", "5"]


@pytest.mark.parametrize("count", [-1, 257])
def test_an_impossible_number_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="count: expected"):
        kernel.start_threads(count)
