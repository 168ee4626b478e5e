"""kill -9 of shards and router while several writers write: nothing acknowledged may be lost.

Segments are so small that they are sealed, built and merged all the time, so many of the kills
fall into that. After each kill everything is read and compared with the record.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.faults.clusters import BUSY, running
from tests.faults.outcome import Outcome
from tests.faults.record import DIM, Faults, Record, Scan, payloads_of, vectors_of
from tests.waiting import wait_until

import fanlight
from fanlight.cli.local_cluster import ROUTER, LocalCluster
from fanlight.errors import FanlightError
from fanlight.model import DeleteResult, Floats, Rows, UpsertResult
from fanlight.placement import shard_name

NAME = "items"
SHARDS = 2
EVERY_SHARD = [shard_name(index) for index in range(SHARDS)]
WRITERS = 4
IDS_OF_A_WRITER = 5_000
ROWS_MAX = 2_000
# Of the ids of a batch of deletions few: most of the collection stays.
DELETED_ROWS_MAX = 400
QUERIES = 200
K = 10
# Recall after a recovery may be so much less than before.
RECALL_LOSS_MAX = 0.005
# Between two comparisons of recall, in kills.
RECALL_EVERY = 20
# A whole scan or write on a machine that has other things to do.
CALL_S = 120.0
SERVING_S = 120.0
# Kills within which a server that acknowledges too early must be caught.
CONTROL_KILLS = 12


@dataclass
class Tally:
    """What the trials came to."""

    faults: Faults = field(default_factory=Faults)
    kills: int = 0
    during_builds: int = 0
    acknowledged: int = 0
    crashes: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    recalls: list[tuple[float, float]] = field(default_factory=list)


class Writer:
    """One writer with ids of its own; it goes on until a write fails or it is stopped."""

    def __init__(self, record: Record, ids: Rows, seed: int) -> None:
        self._record = record
        self._ids = ids
        self._rng = np.random.default_rng(seed)
        self.has_written = threading.Event()

    def write(self, items: fanlight.Collection, stopped: threading.Event) -> int:
        """Write and delete; give the rows that were acknowledged."""
        acknowledged, whole = 0, True
        while whole and not stopped.is_set():
            alive = bool(self._rng.random() < 0.85)
            most = ROWS_MAX if alive else DELETED_ROWS_MAX
            rows = self._rng.choice(self._ids, int(self._rng.integers(1, most)), replace=False)
            done = self._once(items, rows, alive=alive)
            acknowledged, whole = acknowledged + done, done == len(rows)
            self.has_written.set()
        return acknowledged

    def _once(self, items: fanlight.Collection, ids: Rows, *, alive: bool) -> int:
        versions = self._record.begin(ids)
        # Before it is sent: from then on it may happen.
        self._record.doubt(ids, versions, alive=alive)
        try:
            result: UpsertResult | DeleteResult
            if alive:
                vectors, payloads = vectors_of(ids, versions), payloads_of(versions)
                result = items.upsert(ids, vectors, payloads, errors="return", timeout=CALL_S)
            else:
                result = items.delete(ids, errors="return", timeout=CALL_S)
        except FanlightError:
            return 0
        sure = np.ones(len(ids), np.bool_)
        sure[[error.row for error in result.errors]] = False
        self._record.acknowledge(ids[sure], versions[sure], alive=alive)
        return int(sure.sum())


class Trial:
    """A cluster that is killed again and again. Used from one thread."""

    def __init__(self, cluster: LocalCluster, seed: int) -> None:
        self.tally = Tally()
        self._cluster = cluster
        self._choice = random.Random(seed)
        self._record = Record(WRITERS * IDS_OF_A_WRITER)
        self._writers = [
            Writer(self._record, np.arange(n, n + IDS_OF_A_WRITER), seed + n)
            for n in range(0, WRITERS * IDS_OF_A_WRITER, IDS_OF_A_WRITER)
        ]
        with fanlight.Client(cluster.address) as client:
            client.create_collection(
                NAME,
                dim=DIM,
                metric="l2",
                m=8,
                ef_construction=40,
                timeout=CALL_S,
            )

    def kill_while_writing(self, victims: Sequence[str] = ()) -> None:
        """Write, kill some processes in the middle of it, restart them, compare everything."""
        names = victims or self._victims()
        stopped = threading.Event()
        with ExitStack() as stack:
            clients = [
                stack.enter_context(fanlight.Client(self._cluster.address, max_attempts=1))
                for _ in self._writers
            ]
            for writer in self._writers:
                writer.has_written.clear()
            pool = stack.enter_context(ThreadPoolExecutor(WRITERS))
            stack.callback(stopped.set)
            writing = [
                pool.submit(writer.write, client.collection(NAME), stopped)
                for writer, client in zip(self._writers, clients, strict=True)
            ]
            # However slow the machine is, there is something to lose.
            wait_until(
                lambda: all(writer.has_written.is_set() for writer in self._writers),
                SERVING_S,
                step_s=0.02,
            )
            stopped.wait(self._choice.uniform(0.01, 1.2))
            names = self._kill(names)
            stopped.set()
            self.tally.acknowledged += sum(future.result() for future in writing)
        self._recover(names)
        self._compare()

    def kill_at_rest(self) -> None:
        """Kill a shard of a cluster that nobody writes to; the same items are found as before."""
        with fanlight.Client(self._cluster.address) as client:
            items = client.collection(NAME)
            scan = self._scan(items)
            queries = _queries(self._choice.randrange(2**32), QUERIES)
            before = _recall(items, scan, queries)
        self._recover(self._kill([self._choice.choice(EVERY_SHARD)]))
        with fanlight.Client(self._cluster.address) as client:
            after = _recall(client.collection(NAME), scan, queries)
        self.tally.recalls.append((before, after))
        if after < before - RECALL_LOSS_MAX:
            why = f"recall {after:.4f} after a recovery, {before:.4f} before"
            self.tally.faults.add("wrong", ["recall"], why)

    def _victims(self) -> list[str]:
        drawn = self._choice.random()
        if drawn < 0.25:
            return [ROUTER]
        if drawn < 0.7:
            return [self._choice.choice(EVERY_SHARD)]
        if drawn < 0.85:
            return EVERY_SHARD
        return [*EVERY_SHARD, ROUTER]

    def _kill(self, names: Sequence[str]) -> list[str]:
        """Kill processes; give the names of all that have to be restarted, crashed ones too."""
        ended = [p.name for p in self._cluster.processes if p.exit_status is not None]
        self.tally.crashes += len(ended)
        for name in names:
            self._cluster.process(name).kill()
        for name in names:
            self._cluster.process(name).await_end()
            self.tally.kills += 1
            self.tally.during_builds += self._has_begun_segment(name)
        return [*names, *(name for name in ended if name not in names)]

    def _has_begun_segment(self, name: str) -> bool:
        """Tell whether a shard was killed while it wrote a segment."""
        data = self._cluster.process(name).program.data
        return data is not None and any(data.glob("collections/*/segments/*.tmp"))

    def _recover(self, names: Sequence[str]) -> None:
        """Restart, and wait until everything answers; the time is from the start of the first."""
        started = time.monotonic()
        for name in names:
            self._cluster.restart(name)
        with fanlight.Client(self._cluster.address) as client:
            wait_until(lambda: client.status(timeout=CALL_S).complete, SERVING_S, step_s=0.02)
            client.collection(NAME).count(timeout=CALL_S)
            self.tally.recoveries_s.append(time.monotonic() - started)
            # A shard that lived on may still hold a write that a dead router sent. Deletions of
            # ids that nobody has are written after it, on every shard.
            client.collection(NAME).delete(np.arange(-1_000, 0), timeout=CALL_S)

    def _compare(self) -> None:
        with fanlight.Client(self._cluster.address) as client:
            items = client.collection(NAME)
            scan = self._scan(items)
            self._record.compare(scan, self.tally.faults)
            self._compare_search(items, scan)
            if items.count(timeout=CALL_S) != len(scan.ids):
                self.tally.faults.add("wrong", ["count"], "not the number of items scanned")

    def _compare_search(self, items: fanlight.Collection, scan: Scan) -> None:
        """Hold searches to the items that the scan has shown."""
        queries = _queries(self._choice.randrange(2**32), 4)
        exact = items.search(queries, k=K, exact=True, timeout=CALL_S)
        expected = _nearest(queries, scan)
        for row, count in enumerate(exact.counts.tolist()):
            found = exact.ids[row, :count].tolist()
            if len(set(found)) < count:
                self.tally.faults.add("duplicate", found, "twice among the hits of a search")
            if set(found) != expected[row]:
                self.tally.faults.add("wrong", found, "not the nearest items")
        walked = items.search(queries, k=100, timeout=CALL_S)
        ghosts = set(walked.ids[walked.ids >= 0].tolist()) - set(scan.ids.tolist())
        self.tally.faults.add("phantom", sorted(ghosts), "found by a search, not by the scan")

    def _scan(self, items: fanlight.Collection) -> Scan:
        return Scan.of(items.scroll(page_size=5_000, timeout=CALL_S))


def _queries(seed: int, n: int) -> Floats:
    ids = np.random.default_rng(seed).integers(1 << 40, 1 << 41, n)
    return vectors_of(ids, np.ones(n, np.int64))


def _nearest(queries: Floats, scan: Scan) -> list[set[int]]:
    """Find the K nearest items of each query by brute force."""
    wide = scan.vectors.astype(np.float64)
    found = []
    for query in queries.astype(np.float64):
        scores = -((wide - query) ** 2).sum(axis=1).astype(np.float32)
        order = np.lexsort((scan.ids, -scores))[:K]
        found.append(set(scan.ids[order].tolist()))
    return found


def _recall(items: fanlight.Collection, scan: Scan, queries: Floats) -> float:
    hits = items.search(queries, k=K, timeout=CALL_S)
    expected = _nearest(queries, scan)
    shared = sum(len(set(hits.ids[row].tolist()) & near) for row, near in enumerate(expected))
    return shared / max(1, sum(map(len, expected)))


def run(seconds: float, seed: int) -> Outcome:
    """Kill for `seconds`, with at least one kill while writing and one at rest."""
    ends = time.monotonic() + seconds
    control = caught(seed)
    return killed(seed, lambda tally: time.monotonic() >= ends, control)


def killed(seed: int, enough: Callable[[Tally], bool], control: str = "") -> Outcome:
    """Kill until it is enough; give what came of it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), shards=SHARDS, server=BUSY) as cluster,
    ):
        trial, at_rest = Trial(cluster, seed), 0
        tally = trial.tally
        while not (at_rest and enough(tally)):
            trial.kill_while_writing()
            if tally.kills >= at_rest * RECALL_EVERY:
                trial.kill_at_rest()
                at_rest += 1
    faults = tally.faults
    return Outcome(
        fault="kill -9 of shards and router while writing",
        trials=tally.kills,
        acknowledged=tally.acknowledged,
        lost=faults.lost,
        stale=faults.stale,
        phantom=faults.phantom,
        duplicate=faults.duplicate,
        wrong=faults.wrong,
        crashes=tally.crashes,
        recovery_s=(statistics.median(tally.recoveries_s), max(tally.recoveries_s)),
        control=control,
        notes=_notes(tally),
    )


def _notes(tally: Tally) -> str:
    worst = max(before - after for before, after in tally.recalls)
    lowest = min(after for _, after in tally.recalls)
    told = (
        f"{tally.during_builds} kills fell into the writing of a segment; recall@{K} after a "
        f"recovery at least {lowest:.4f}, at most {max(worst, 0.0):.4f} less than before "
        f"({len(tally.recalls)} comparisons)"
    )
    return "; ".join([told, *tally.faults.examples])


def caught(seed: int) -> str:
    """Show that these trials see losses: kill a server that acknowledges before it commits.

    Raises:
        AssertionError: they do not.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            Path(folder), shards=SHARDS, server=BUSY, module="tests.faults.hasty_server"
        ) as cluster,
    ):
        trial = Trial(cluster, seed)
        for _ in range(CONTROL_KILLS):
            trial.kill_while_writing(EVERY_SHARD)
            tally = trial.tally
            if tally.faults.lost or tally.faults.stale:
                return (
                    f"a server that acknowledges before it commits: {tally.faults.lost} lost and "
                    f"{tally.faults.stale} stale of {tally.acknowledged} in {tally.kills} kills"
                )
    raise AssertionError("a server that acknowledges before it commits was not caught")
