"""The power fails at any moment: what was acknowledged is there.

A real shard server works on a recorded disk. Then every point of the record is a crash: the files are made
as the disk may hold them (see `tests.faults.crash_points`), a shard is opened on them, and what it
holds is compared with what had been acknowledged before that point.

The record is whole: the server ends by itself, each entry is one write, and reading fails on a cut one.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tests import oracle
from tests.faults.crash_points import Image, Loss, Op, acknowledgement, parse
from tests.faults.faulty_disk import environment
from tests.faults.lanes import DIM, LANES, SHARED, Items, Lane, canonical
from tests.faults.one_shard import OneShard
from tests.faults.outcome import Outcome
from tests.pieces import floats

import fanlight
from fanlight.errors import FanlightError, NotFound
from fanlight.limits import Limits
from fanlight.model import Metric, SearchRequest, parse_payload
from fanlight.placement import ShardIdentity
from fanlight.topk import TopK
from fanlight_server.catalog import Catalog
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig

# Heads of 64 rows, sealed and built at once; a log that is copied after a few pages.
_BUSY = (
    "index.head_bytes=4096",
    "index.idle_s=0.02",
    "index.idle_rows_min=1",
    "index.build_threads=1",
    "storage.wal_bytes=262144",
)
_QUERIES = floats(7, 2, DIM)
_SEARCH = SearchConfig(threads=1)
# Nothing is built while a crash point is looked at.
_STILL = IndexConfig(head_bytes=1 << 22, build_threads=1, idle_s=86_400.0)
_OPERATIONS = 60


@dataclass
class Recording:
    """A record, and the lanes that made it.

    Attributes:
        root: the directory that was recorded.
        inode: of it.
        before: what was in it when the record began.
        ops: what was done to it then.
        lanes: what was written.
    """

    root: str
    inode: int
    before: list[Op]
    ops: list[Op]
    lanes: list[Lane]


def recorded(
    folder: Path, seed: int, operations: int, module: str = "fanlight_server"
) -> Recording:
    """Run a server on a recorded disk until each lane has done so many operations."""
    data, record = folder / "data", folder / "record"
    data.mkdir()
    lanes = [Lane(number, seed) for number in range(LANES)]
    # told before the record begins: the lanes' first state
    with OneShard(data, module=module) as shard, fanlight.Client(shard.address) as client:
        client.create_collection(SHARED, dim=DIM, m=8, ef_construction=40)
        shard.stop()
    before = [Op(*part) for part in _as_ops(data)]
    env = environment(data, record=record)
    with OneShard(data, *_BUSY, module=module, env=env) as shard:
        handle = os.open(record, os.O_WRONLY | os.O_APPEND)
        try:
            _drive(shard.address, lanes, operations, handle)
        finally:
            os.close(handle)
        assert shard.stop() == 0, shard.log.read_text()[-2_000:]
    ops = list(parse(record.read_bytes()))
    return Recording(str(data), data.stat().st_ino, before, ops, lanes)


def _as_ops(data: Path) -> Iterator[tuple[str, int, int, str, bytes]]:
    """Write down a directory that is at rest as if it had just been made, all of it synced."""
    for path in sorted(data.rglob("*")):
        inode = path.stat().st_ino
        if path.is_dir():
            yield "M", inode, 0, str(path), b""
        else:
            yield "C", inode, 0, str(path), b""
            yield "W", inode, 0, "", path.read_bytes()
            yield "S", inode, 0, "", b""
    for path in (data, *sorted(data.rglob("*"))):
        if path.is_dir():
            yield "D", path.stat().st_ino, 0, "", b""


def _drive(address: str, lanes: Sequence[Lane], operations: int, record: int) -> None:
    """Run all lanes at once; each acknowledgement goes to the record."""
    failures: list[BaseException] = []

    def drive(lane: Lane) -> None:
        try:
            with fanlight.Client(address) as client:
                for number in range(1, operations + 1):
                    lane.next().run(client)
                    os.write(record, acknowledgement(lane.number, number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=drive, args=(lane,)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


@dataclass
class Tally:
    """What the crash points came to so far."""

    points: int = 0
    by_loss: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    opening_s: list[float] = field(default_factory=list)


class Replay:
    """Opens shards on what crashes leave behind."""

    def __init__(self, recording: Recording, folder: Path, seed: int) -> None:
        self._recording = recording
        self._folder = folder
        self._choice = random.Random(seed)
        self._image = Image(recording.root, recording.inode)
        for op in recording.before:
            self._image.apply(op)
        self._told = [0] * len(recording.lanes)
        self.tally = Tally()

    def run(self, *, stride: int = 1, torn: int = 1, until: float | None = None) -> Tally:
        """Crash after every `stride`-th change, once in each way and `torn` times torn."""
        changes = 0
        for number, op in enumerate(self._recording.ops):
            if op.kind == "A":
                self._told[op.inode] = op.offset
            else:
                self._image.apply(op)
            changes += op.kind != "A"
            if changes % stride or op.kind == "A":
                continue
            if until is not None and time.monotonic() > until:
                break
            for loss in (Loss.KEPT, Loss.DROPPED, *[Loss.TORN] * torn):
                self._crash(loss, number)
        return self.tally

    def _crash(self, loss: Loss, number: int) -> None:
        path = self._folder / "crash"
        self._image.top.write(path, loss, self._choice)
        tally = self.tally
        tally.points += 1
        tally.by_loss[loss.name.lower()] += 1
        try:
            begun = time.monotonic()
            catalog = _opened(path)
            tally.opening_s.append(time.monotonic() - begun)
        except FanlightError as error:
            self._see("crashes", f"entry {number}, {loss.name}: does not open: {error}")
        else:
            try:
                for lane, told in zip(self._recording.lanes, self._told, strict=True):
                    self._judge(catalog, lane, told, f"entry {number}, {loss.name}")
                self._compare_searches(catalog, f"entry {number}, {loss.name}")
            finally:
                catalog.close()
        shutil.rmtree(path)

    def _judge(self, catalog: Catalog, lane: Lane, told: int, where: str) -> None:
        """Compare a lane's items with its state, or with that after the operation under way."""
        held = _items_of(catalog, lane)
        expected = lane.states[told][lane.own]
        later = lane.states[min(told + 1, len(lane.states) - 1)][lane.own]
        if held in (expected, later):
            return
        if held is None or expected is None:
            self._see("lost" if held is None else "phantom", f"{where}: collection {lane.own}")
            return
        after = expected if later is None else later
        strange = [
            value
            for value in expected.keys() | held.keys()
            if held.get(value) not in (expected.get(value), after.get(value))
        ]
        for value in strange:
            kind = "lost" if value not in held else "stale" if value in expected else "phantom"
            self._see(kind, f"{where}: item {value} of lane {lane.number}")
        if not strange:
            self._see("wrong", f"{where}: half of an operation of lane {lane.number}")

    def _compare_searches(self, catalog: Catalog, where: str) -> None:
        """Compare what is found with what is stored: index and store agree."""
        for info in catalog.describe():
            collection = catalog.get(info.spec.name)
            items = _stored(collection)
            try:
                _check_search(collection, items)
            except AssertionError as error:
                self._see("wrong", f"{where}: {info.spec.name} is searched wrongly: {error}")

    def _see(self, kind: str, example: str) -> None:
        self.tally.found[kind] += 1
        if len(self.tally.examples) < 5:
            self.tally.examples.append(example)


def _opened(path: Path) -> Catalog:
    return Catalog(path, ShardIdentity("local", 0, 1), Limits(), _STILL, _SEARCH)


def _stored(collection: Collection) -> Items:
    page = collection.scroll(10_000, b"")
    vectors, blobs = page.items.vectors, page.items.payload_blobs
    assert vectors is not None
    assert blobs is not None
    ids = page.items.ids.tolist()
    payloads = [canonical(parse_payload(blob)) for blob in blobs]
    return {i: (v.tobytes(), p) for i, v, p in zip(ids, vectors, payloads, strict=True)}


def _items_of(catalog: Catalog, lane: Lane) -> Items | None:
    try:
        items = _stored(catalog.get(lane.own))
    except NotFound:
        return None
    return {value: item for value, item in items.items() if value % LANES == lane.number}


def _check_search(collection: Collection, items: Items) -> None:
    assert collection.count() == len(items), "the count"
    ids = np.array(sorted(items), np.int64)
    rows = [np.frombuffer(items[value][0], np.float32) for value in ids.tolist()]
    vectors = np.array(rows, np.float32).reshape(len(rows), DIM)
    k = len(items) + 1
    hits = collection.search(SearchRequest(collection.spec.name, _QUERIES, k, exact=True))
    best = oracle.best(Metric.COSINE, _QUERIES, ids, vectors, k)
    oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), best)


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    """Give a folder to record in, on a disk, and one for crashes, in memory where there is one."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="power-cut-") as disk,
        tempfile.TemporaryDirectory(prefix="power-cut-", dir=where) as quick,
    ):
        yield Path(disk), Path(quick)


def cut(
    seed: int, *, operations: int = 25, stride: int = 40, seconds: float | None = None
) -> Outcome:
    """Record once and crash at every `stride`-th change; with `seconds`, for no longer."""
    until = None if seconds is None else time.monotonic() + seconds
    with _folders() as (disk, quick):
        recording = recorded(disk, seed, operations)
        tally = Replay(recording, quick, seed).run(stride=stride, until=until)
    events = _events(recording)
    return _outcome(tally, events, seed)


def _events(recording: Recording) -> Counter[str]:
    """Count what happened while it was recorded."""
    items = {op.inode for op in [*recording.before, *recording.ops] if op.path.endswith("items.db")}
    found: Counter[str] = Counter()
    for op in recording.ops:
        is_segment = op.path.endswith((".seg", ".seg.tmp"))
        found["acknowledged"] += op.kind == "A"
        found["segments made"] += op.kind == "R" and is_segment
        found["segments removed"] += op.kind == "U" and is_segment
        found["collections removed"] += op.kind == "X" and "@" in Path(op.path).name
        found["pages copied from logs"] += op.kind == "W" and op.inode in items
        found["syncs"] += op.kind in "SD"
    return found


def losses_without_syncs(seed: int, *, operations: int = 12, stride: int = 10) -> Tally:
    """Do the same with a server whose store does not sync: the positive control."""
    with _folders() as (disk, quick):
        recording = recorded(disk, seed, operations, "tests.faults.careless_server")
        return Replay(recording, quick, seed).run(stride=stride, torn=0)


def _outcome(tally: Tally, events: Counter[str], seed: int) -> Outcome:
    opening = sorted(tally.opening_s) or [0.0]
    ways = ", ".join(f"{n} {name}" for name, n in sorted(tally.by_loss.items()))
    done = ", ".join(f"{n} {name}" for name, n in sorted(events.items()))
    return Outcome(
        fault="loss of power, every crash point",
        trials=tally.points,
        acknowledged=events["acknowledged"],
        lost=tally.found["lost"],
        stale=tally.found["stale"],
        phantom=tally.found["phantom"],
        wrong=tally.found["wrong"],
        crashes=tally.found["crashes"],
        recovery_s=(opening[len(opening) // 2], opening[-1]),
        notes="; ".join([f"unsynced data: {ways}", done, f"seed {seed}", *tally.examples]),
    )


def run(seconds: float, seed: int) -> Outcome:
    """Record and crash, with another seed each time, until the time is over.

    Args:
        seconds: about how long.
        seed: of the first record; printed with the outcome.
    """
    ends = time.monotonic() + seconds
    control = losses_without_syncs(seed)
    assert control.found["lost"], "the positive control was not seen"
    outcome, turn = cut(seed, operations=_OPERATIONS, stride=1, seconds=seconds), 0
    while time.monotonic() < ends:
        turn += 1
        left = ends - time.monotonic()
        outcome = _sum(outcome, cut(seed + turn, operations=_OPERATIONS, stride=1, seconds=left))
    text = f"a store that does not sync: {control.found['lost']} losses at {control.points} crash points"
    return replace(outcome, control=text)


def _sum(one: Outcome, other: Outcome) -> Outcome:
    names = ("trials", "acknowledged", "lost", "stale", "phantom", "wrong", "crashes")
    assert one.recovery_s is not None
    assert other.recovery_s is not None
    longest = max(one.recovery_s[1], other.recovery_s[1])
    return replace(
        one,
        **{name: getattr(one, name) + getattr(other, name) for name in names},
        recovery_s=(one.recovery_s[0], longest),
        notes=f"{one.notes}; {other.notes}",
    )


if __name__ == "__main__":
    sys.stdout.write(f"{run(float(sys.argv[1]), int(sys.argv[2]))}\n")
