"""What a disk may hold after a loss of power, from a record of what was done to it.

The model: what was written to a file and not synced since may be there or not, each write for itself
and each of its sectors of 512 bytes for itself. Names that were made, changed or removed in a directory and
not synced may be so or not, as file systems with a journal do it: in order, so that a prefix of the changes
is there. This is harsher than one disk: each directory's prefix is another.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

# As in disk_faults.c: op, inode, offset, bytes of the path, bytes of the data.
_ENTRY = struct.Struct("<BQqII")
_SECTOR = 512
# SQLite's shared memory is made anew by the first process that opens a database.
_NOT_KEPT = "-shm"


@dataclass(frozen=True, slots=True)
class Op:
    """One entry of a record.

    Attributes:
        kind: C create, T truncate, W write, S sync, D sync of a directory, R rename, U unlink,
            M make and X remove a directory, A acknowledgement.
        inode: of the file or directory; of an A, who was told.
        offset: in the file; the size of a T; of an A, the number of what was acknowledged.
        path: of what is named.
        data: of a W; the new name of an R.
    """

    kind: str
    inode: int
    offset: int
    path: str
    data: bytes


def acknowledgement(teller: int, number: int) -> bytes:
    """Encode an entry to be appended to a record, in one write."""
    return _ENTRY.pack(ord("A"), teller, number, 0, 0)


def parse(blob: bytes) -> Iterator[Op]:
    """Read a record; it must be whole."""
    at = 0
    while at < len(blob):
        kind, inode, offset, path_bytes, data_bytes = _ENTRY.unpack_from(blob, at)
        at += _ENTRY.size
        path = blob[at : at + path_bytes].decode()
        data = blob[at + path_bytes : at + path_bytes + data_bytes]
        at += path_bytes + data_bytes
        assert at <= len(blob), "the record is cut"
        yield Op(chr(kind), inode, offset, path, data)


class Loss(Enum):
    """What a crash does to what was not synced."""

    KEPT = "all of it is there: the process alone has died"
    DROPPED = "nothing of it is there"
    TORN = "some of it is there, down to sectors"


@dataclass(slots=True)
class File:
    """Content that is durable, and what was done to it since: writes, and sizes."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.content(Loss.KEPT, random.Random())
        self.pending.clear()

    def content(self, loss: Loss, choice: random.Random) -> bytearray:
        made = bytearray(self.durable)
        if loss is not Loss.DROPPED:
            for offset, data in self.pending:
                _apply(made, offset, data, None if loss is Loss.KEPT else choice)
        return made


def _apply(made: bytearray, offset: int, data: bytes | None, choice: random.Random | None) -> None:
    """Do what was done, or with `choice` some of it."""
    if choice is not None and choice.random() < 0.4:
        return
    if data is None:
        made[offset:] = bytes(max(0, offset - len(made)))
        return
    torn = choice is not None and choice.random() < 0.4
    for start in range(0, len(data), _SECTOR) if torn else [0]:
        if torn and choice is not None and choice.random() < 0.5:
            continue
        part = data[start : start + _SECTOR] if torn else data
        at = offset + start
        if len(made) < at:
            made.extend(bytes(at - len(made)))
        made[at : at + len(part)] = part


@dataclass(slots=True)
class Directory:
    """Names that are durable, and changes since; one change may be of two names (a rename)."""

    durable: dict[str, File | Directory] = field(default_factory=dict)
    pending: list[dict[str, File | Directory | None]] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.names(len(self.pending))
        self.pending.clear()

    def names(self, changes: int) -> dict[str, File | Directory]:
        names: dict[str, File | Directory | None] = dict(self.durable)
        for change in self.pending[:changes]:
            names |= change
        return {name: node for name, node in names.items() if node is not None}

    def write(self, path: Path, loss: Loss, choice: random.Random) -> None:
        """Make what a crash leaves of this directory."""
        path.mkdir()
        n = len(self.pending)
        kept = {Loss.KEPT: n, Loss.DROPPED: 0, Loss.TORN: choice.randint(0, n)}[loss]
        for name, node in self.names(kept).items():
            if isinstance(node, Directory):
                node.write(path / name, loss, choice)
            elif not name.endswith(_NOT_KEPT):
                (path / name).write_bytes(node.content(loss, choice))


class Image:
    """A disk as a record tells it, entry by entry."""

    def __init__(self, root: str, inode: int) -> None:
        """Take the directory that was recorded, empty."""
        self._root = root
        self.top = Directory()
        self._by_inode: dict[int, File | Directory] = {inode: self.top}

    def apply(self, op: Op) -> None:
        """Do what an entry says."""
        node = self._by_inode.get(op.inode)
        if op.kind in "SD":
            if node is not None:
                node.sync()
        elif op.kind in "WT":
            assert isinstance(node, File), f"a write to no file: {op.inode}"
            node.pending.append((op.offset, op.data if op.kind == "W" else None))
        elif op.kind in "CM":
            made = self._by_inode[op.inode] = File() if op.kind == "C" else Directory()
            self._change(op.path, made)
        elif op.kind in "UX":
            self._change(op.path, None)
        elif op.kind == "R":
            directory, old = self._place(op.path)
            other, new = self._place(op.data.decode())
            assert directory is other, "a rename from one directory to another"
            directory.pending.append({old: None, new: self._now(directory)[old]})

    def _change(self, path: str, node: File | Directory | None) -> None:
        directory, name = self._place(path)
        directory.pending.append({name: node})

    def _place(self, path: str) -> tuple[Directory, str]:
        *parents, name = Path(path).relative_to(self._root).parts
        directory = self.top
        for parent in parents:
            found = self._now(directory)[parent]
            assert isinstance(found, Directory), f"no directory: {path}"
            directory = found
        return directory, name

    def _now(self, directory: Directory) -> dict[str, File | Directory]:
        return directory.names(len(directory.pending))
