"""A disk under a real process that can be recorded, made to fail and made to be full.

The work is done by `disk_faults.c`, which is compiled here and preloaded into the process.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType

_SOURCE = Path(__file__).with_name("disk_faults.c")

# Kinds of calls, as in disk_faults.c.
WRITE, SYNC, RENAME, TRUNCATE = 1, 2, 4, 8
KINDS = {"write": WRITE, "sync": SYNC, "rename": RENAME, "truncate": TRUNCATE}

_FIELDS = ("countdown", "kinds", "error", "fired", "quota", "used", "calls")


@cache
def library() -> Path:
    """Compile the library, once a process; the system's temporary directory keeps it."""
    made = Path(tempfile.mkdtemp(prefix="faults-")) / "disk_faults.so"
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra"]
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, *flags, "-o", made, _SOURCE, "-ldl", "-lpthread"], check=True)
    return made


class Control:
    """What a preloaded process is told, through a file that both map."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it: no faults."""
        size = 8 * len(_FIELDS)
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    def _get(self, name: str) -> int:
        return int(struct.unpack_from("<q", self._map, 8 * _FIELDS.index(name))[0])

    def _set(self, name: str, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * _FIELDS.index(name), value)

    def fail(self, kinds: int, call: int, error: int = errno.EIO) -> None:
        """Let one call fail: that of these kinds which comes `call`-th from now on, once."""
        self._set("countdown", 0)
        self._set("kinds", kinds)
        self._set("error", error)
        self._set("fired", 0)
        self._set("calls", 0)
        self._set("countdown", call)

    @property
    def fired(self) -> int:
        """Tell how many calls were made to fail since `fail`."""
        return self._get("fired")

    @property
    def quota(self) -> int:
        """Tell how many bytes the files may have together; 0 for any number."""
        return self._get("quota")

    @quota.setter
    def quota(self, value: int) -> None:
        self._set("quota", value)

    @property
    def used(self) -> int:
        """Tell how many bytes they have, as far as the process made them."""
        return self._get("used")

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def environment(
    directory: Path, *, record: Path | None = None, control: Path | None = None
) -> dict[str, str]:
    """Give the environment of a process whose `directory` is on the faulty disk."""
    made = {"LD_PRELOAD": str(library()), "FAULTS_DIR": str(directory)}
    if record is not None:
        made["FAULTS_RECORD"] = str(record)
    if control is not None:
        made["FAULTS_CONTROL"] = str(control)
    return os.environ | made
