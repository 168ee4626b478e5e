"""A router's next message takes the memory that the last one freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fanlight_router import freed_memory

# As many megabytes as half a megabyte of ids takes on its way to three shards, in a process of its
# own, since malloc's settings are those of a process.
_MESSAGES = """
import resource, sys
from fanlight_router import __main__ as program
if sys.argv[1] == "router":
    program.main(["--print-config"])
def message():
    parts = [bytes([number]) * 500_000 for number in range(8)]
for _ in range(5):
    message()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    message()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


def faults_a_message(who: str) -> int:
    """Count the page faults of a message."""
    command = [sys.executable, "-c", _MESSAGES, who]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(ran.stdout.split()[-1])


def test_a_router_takes_no_memory_anew_for_each_message() -> None:
    """4 MB are a thousand pages, which another program does take anew."""
    if faults_a_message("other") < 500:
        pytest.skip("this C library keeps freed memory anyway")
    assert faults_a_message("router") < 50


def test_what_the_environment_says_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has chosen how much is kept gets that."""
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not freed_memory.keep_freed_memory()
