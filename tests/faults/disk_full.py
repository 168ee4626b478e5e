"""The disk fills up while items are written and searched, and has room again later.

A trial starts a real shard server on a small disk, fills it, writes until writes are refused, makes room,
writes on, kills the server and compares everything with what was acknowledged. Searches run all the time.
Once the reserve (`storage.free_bytes_min`) stops the writes, once there is none and the disk itself does: in
the middle of a commit, a checkpoint or a segment.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from tests import oracle
from tests.faults.one_shard import OneShard
from tests.faults.outcome import Outcome
from tests.faults.small_disk import MIB, SmallDisk, can_mount, small_disk
from tests.pieces import floats

import fanlight
from fanlight.cluster import ShardState
from fanlight.errors import Corruption, FanlightError, Overloaded
from fanlight.model import Metric
from fanlight.topk import TopK

DIM = 64
_ROWS = 200
_SIZE = 48 * MIB
_RESERVE = 2 * MIB
# Long for a slow machine; what is waited for takes a moment.
_WAIT_S = 120.0
_STEP_S = 0.02
_SETTINGS = (
    "index.head_bytes=65536",
    "index.idle_s=0.05",
    "index.idle_rows_min=1",
    "index.build_threads=1",
    "storage.free_share_min=0",
    "storage.wal_bytes=1048576",
)


@dataclass
class Tally:
    """What the trials came to so far."""

    trials: int = 0
    told: int = 0
    refused: int = 0
    lost: int = 0
    phantom: int = 0
    wrong: int = 0
    searches: int = 0
    resumed_s: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def see(self, kind: str, example: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < 5:
            self.examples.append(example)


class Trial:
    """One server on one disk."""

    def __init__(self, disk: SmallDisk, seed: int, reserve: int, tally: Tally) -> None:
        self._disk = disk
        self._seed = seed
        self._tally = tally
        self._settings = (*_SETTINGS, f"storage.free_bytes_min={reserve}")
        self._is_watched = reserve > 0
        # batches by number: rows of batch n have the ids from n * _ROWS on
        self._told: set[int] = set()
        self._refused: set[int] = set()
        self._next = 0

    def run(self) -> None:
        """Fill the disk, make room, compare."""
        disk, data = self._disk, self._disk.data
        with OneShard(data, *self._settings, env=disk.env) as shard:
            with fanlight.Client(shard.address, max_attempts=1) as client:
                client.create_collection("things", dim=DIM, m=8, ef_construction=40)
                for _ in range(3):
                    self._write(client)
                with self._searching(shard.address):
                    disk.fill(_RESERVE + 2 * MIB)
                    self._fill(client)
                    disk.clear()
                    self._resume(client)
            if not shard.is_running:
                self._tally.see("wrong", "the server ended")
        with (
            OneShard(data, *self._settings, env=disk.env) as shard,
            fanlight.Client(shard.address) as client,
        ):
            self._compare(client)
        self._tally.trials += 1

    def run_boaster(self) -> None:
        """Fill the disk under a server that lies about it, and compare."""
        disk = self._disk
        module = "tests.faults.boastful_server"
        with (
            OneShard(disk.data, *self._settings, module=module, env=disk.env) as shard,
            fanlight.Client(shard.address, max_attempts=1) as client,
        ):
            client.create_collection("things", dim=DIM, m=8, ef_construction=40)
            disk.fill(MIB)
            for _ in range(60):
                self._write(client)
            self._compare(client)

    def _batch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.arange(number * _ROWS, (number + 1) * _ROWS, dtype=np.int64)
        return ids, floats(self._seed * 1_000 + number, _ROWS, DIM)

    def _write(self, client: fanlight.Client) -> Overloaded | None:
        """Write the next batch; give the refusal if the disk is full."""
        number, self._next = self._next, self._next + 1
        ids, vectors = self._batch(number)
        try:
            client.collection("things").upsert(ids, vectors)
        except Overloaded as error:
            self._refused.add(number)
            self._tally.refused += 1
            return error
        self._told.add(number)
        self._tally.told += 1
        return None

    def _fill(self, client: fanlight.Client) -> None:
        """Write until it is refused, and look at what the shard says then."""
        deadline, refusal = time.monotonic() + _WAIT_S, None
        while refusal is None:
            if time.monotonic() > deadline:
                self._tally.see("wrong", "no write was refused")
                return
            refusal = self._write(client)
        for _ in range(20):
            refusal = self._write(client) or refusal
        if refusal.field != "disk" or "bytes" not in refusal.message:
            self._tally.see("wrong", f"the refusal has no figures: {refusal}")
        if self._is_watched:
            state = client.status().shards[0].state
            if state is not ShardState.READ_ONLY:
                self._tally.see("wrong", f"the status says {state}")

    def _resume(self, client: fanlight.Client) -> None:
        """Write again now that there is room; then wait until the builder has caught up."""
        begun = time.monotonic()
        while self._write(client) is not None:
            if time.monotonic() > begun + _WAIT_S:
                self._tally.see("wrong", "writes did not resume")
                return
            time.sleep(_STEP_S)
        self._tally.resumed_s.append(time.monotonic() - begun)
        for _ in range(5):
            self._write(client)
        deadline = time.monotonic() + _WAIT_S
        while client.collection("things").info().unindexed_items > _ROWS:
            if time.monotonic() > deadline:
                self._tally.see("wrong", "builds did not resume")
                return
            time.sleep(_STEP_S)

    @contextmanager
    def _searching(self, address: str) -> Iterator[None]:
        """Search in a thread of its own; every answer must be whole."""
        done, queries = threading.Event(), floats(self._seed, 2, DIM)

        def search() -> None:
            with fanlight.Client(address, max_attempts=1) as client:
                while not done.is_set():
                    try:
                        hits = client.collection("things").search(queries, k=20)
                    except FanlightError as error:
                        self._tally.see("wrong", f"a search failed: {error}")
                        continue
                    self._tally.searches += 1
                    if hits.counts.tolist() != [20, 20]:
                        self._tally.see("wrong", "a search found too little")

        thread = threading.Thread(target=search)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _compare(self, client: fanlight.Client) -> None:
        """Compare everything with what was acknowledged; a refused batch changed nothing."""
        things = client.collection("things")
        kept = []
        for number in sorted(self._told | self._refused):
            ids, vectors = self._batch(number)
            try:
                got = things.get(ids)
            except Corruption as error:  # the shard itself misses what it showed
                self._tally.see("lost", f"batch {number}: {error}")
                continue
            assert got.vectors is not None
            whole = np.array_equal(got.ids, ids) and np.array_equal(got.vectors, vectors)
            if number in self._told and not whole:
                self._tally.see("lost", f"batch {number}: {len(got.ids)} of {_ROWS} items")
            if number in self._refused and len(got.ids):
                self._tally.see("phantom", f"batch {number} was refused, and is there")
            if whole:
                kept.append((ids, vectors))
        if self._tally.lost:
            return
        all_ids, all_vectors = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        queries = floats(1, 3, DIM)
        best = oracle.best(Metric.COSINE, queries, all_ids, all_vectors, 10)
        hits = things.search(queries, k=10, exact=True)
        oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), best)


def filled(seed: int, *, mount: bool, reserve: int, tally: Tally) -> None:
    """Carry out one trial."""
    with small_disk(_SIZE, mount=mount) as disk:
        Trial(disk, seed, reserve, tally).run()


def losses_of_a_boaster(seed: int, *, mount: bool) -> int:
    """Do the same with a server that acknowledges all the same: the positive control."""
    tally = Tally()
    with small_disk(_SIZE, mount=mount) as disk:
        trial = Trial(disk, seed, 0, tally)
        trial.run_boaster()
    return tally.lost


def run(seconds: float, seed: int) -> Outcome:
    """Fill disks until the time is over, at least one in each way.

    Args:
        seconds: about how long.
        seed: of the items.
    """
    ends, mount, tally, turn = time.monotonic() + seconds, can_mount(), Tally(), 0
    lost = losses_of_a_boaster(seed, mount=mount)
    assert lost, "the positive control was not seen"
    while turn < 2 or time.monotonic() < ends:
        filled(seed + turn, mount=mount, reserve=_RESERVE * (turn % 2 == 0), tally=tally)
        turn += 1
    text = f"a server that acknowledges what did not fit: {lost} batches lost"
    return replace(outcome_of(tally, seed, "tmpfs" if mount else "quota"), control=text)


def outcome_of(tally: Tally, seed: int, kind: str) -> Outcome:
    """Put a tally into the table's words."""
    resumed = sorted(tally.resumed_s)
    notes = (
        f"{kind}; {tally.refused} writes refused, {tally.searches} searches answered; seed {seed}"
    )
    return Outcome(
        fault="disk full",
        trials=tally.trials,
        acknowledged=tally.told * _ROWS,
        lost=tally.lost,
        phantom=tally.phantom,
        wrong=tally.wrong,
        recovery_s=(resumed[len(resumed) // 2], resumed[-1]) if resumed else None,
        notes="; ".join([notes, *tally.examples]),
    )


if __name__ == "__main__":
    sys.stdout.write(f"{run(float(sys.argv[1]), int(sys.argv[2]))}\n")
