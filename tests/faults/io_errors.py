"""A write, a sync, a rename or a truncation fails once, at any place: nothing is acknowledged after it.

The call fails in the C library, so SQLite meets it as much as our own code. Afterwards every call works
again, which is what makes it dangerous: whoever tries once more is told that all is well. A trial
lets one call fail, goes on writing, compares answers meanwhile, and opens the data anew.

python -m tests.faults.io_errors FOLDER SECONDS SEED [careless]: what `run` starts under the library.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tests import oracle
from tests.faults.faulty_disk import KINDS, Control, environment
from tests.faults.outcome import Outcome
from tests.pieces import floats, spec_of
from tests.waiting import wait_until

from fanlight.errors import FanlightError, NotReady
from fanlight.limits import Limits
from fanlight.model import Floats, ItemBatch, Metric, SearchRequest
from fanlight.placement import ShardIdentity
from fanlight.topk import TopK
from fanlight_server.catalog import Catalog
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.settings import StorageConfig

DIM = 8
_UNIVERSE = 150
_QUERIES = floats(7, 2, DIM)
# Heads of 64 rows, sealed and built at once, and a log that is copied after a few pages.
_BUSY = IndexConfig(
    head_bytes=4_096, unindexed_bytes=1 << 20, build_threads=1, idle_s=0.01, idle_rows_min=1
)
_STILL = IndexConfig(head_bytes=1 << 22, build_threads=1, idle_s=86_400.0)
_STORAGE = StorageConfig(free_bytes_min=0, free_share_min=0, wal_bytes=1 << 18)
_WAIT_S = 60
# Operations that are tried after the error.
_AFTER = 6
# A workload has about so many calls of each kind that can fail.
_CALLS = {"write": 400, "sync": 60, "rename": 6, "truncate": 4}
_WORKLOAD = 24

Items = dict[int, bytes]


@dataclass
class Tally:
    """What the trials came to so far; goes from the process under the library as JSON."""

    places: int = 0
    fired: Counter[str] = field(default_factory=Counter)
    told: int = 0
    told_after: int = 0
    lost: int = 0
    stale: int = 0
    phantom: int = 0
    wrong: int = 0
    searches: int = 0
    examples: list[str] = field(default_factory=list)


class Trial:
    """One shard, one fault."""

    def __init__(
        self,
        folder: Path,
        control: Control,
        choice: random.Random,
        tally: Tally,
        notice_s: float,
    ) -> None:
        self._path = folder
        self._control = control
        self._choice = choice
        self._tally = tally
        self._notice_s = notice_s
        # by id: the vector that was acknowledged last, and those that may be there instead
        self._told: Items = {}
        self._maybe: dict[int, set[bytes | None]] = {}

    def run(self, kind: str, call: int) -> bool:
        """Let one call fail; tell whether the workload came to it."""
        tally, fault = self._tally, f"{kind} {call}"
        folder = self._path / "shard"
        folder.mkdir()
        catalog = _opened(folder, _BUSY)
        try:
            catalog.create(spec_of(DIM))
            collection = catalog.get("things")
            self._control.fail(KINDS[kind], call)
            fired = self._work(catalog, collection, fault)
            self._control.fail(0, 0)
            if fired:
                self._search(collection, fault)
        finally:
            self._control.fail(0, 0)
            catalog.close()
        self._reopen(folder, fault)
        tally.places += 1
        tally.fired[kind] += fired
        return fired

    def _work(self, catalog: Catalog, collection: Collection, fault: str) -> bool:
        """Write until the call has failed, and a while after it; tell whether it failed."""
        after = 0
        for _ in range(_WORKLOAD):
            failed = bool(self._control.fired)
            if failed:
                self._await_notice(catalog, fault)
            self._step(collection, failed, fault)
            after += failed
            if after >= _AFTER:
                break
        return bool(self._control.fired)

    def _await_notice(self, catalog: Catalog, fault: str) -> None:
        """Wait until whoever made the call that failed has told it: the builder may be behind."""
        try:
            wait_until(lambda: isinstance(catalog.write_refusal, NotReady), self._notice_s)
        except AssertionError:
            self._see("wrong", f"{fault}: the shard does not say that its disk failed")

    def _step(self, collection: Collection, failed: bool, fault: str) -> None:
        """Do one operation; `failed` tells that the call had failed before it began."""
        numbers = np.array(self._choice.sample(range(_UNIVERSE), self._choice.choice([1, 30])))
        vectors = None
        if self._choice.random() < 0.7:
            vectors = floats(self._choice.randrange(2**32), len(numbers), DIM)
        try:
            self._write(collection, numbers, vectors)
        except NotReady:
            for row, value in enumerate(numbers.tolist()):
                perhaps = None if vectors is None else vectors[row].tobytes()
                self._maybe.setdefault(value, set()).add(perhaps)
            return
        except FanlightError as error:
            self._see("wrong", f"{fault}: {type(error).__name__}: {error}")
            return
        self._tally.told += 1
        if failed:
            self._see("told_after", f"{fault}: acknowledged after it")
        for row, value in enumerate(numbers.tolist()):
            self._maybe.pop(value, None)
            if vectors is None:
                self._told.pop(value, None)
            else:
                self._told[value] = vectors[row].tobytes()

    def _write(self, collection: Collection, numbers: Any, vectors: Floats | None) -> None:
        if vectors is None:
            collection.delete(numbers).result(_WAIT_S)
        else:
            collection.upsert(ItemBatch(numbers, vectors, None)).result(_WAIT_S)

    def _search(self, collection: Collection, fault: str) -> None:
        """Search after the error: of what was acknowledged, everything is found."""
        hits = collection.search(SearchRequest("things", _QUERIES, _UNIVERSE, exact=True))
        self._tally.searches += 1
        found = set(hits.ids[0, : hits.counts[0]].tolist())
        certain = {value for value in self._told if value not in self._maybe}
        if hits.errors or not certain <= found or not found <= {*self._told, *self._maybe}:
            self._see("wrong", f"{fault}: a search after it is wrong")

    def _reopen(self, folder: Path, fault: str) -> None:
        """Start again, and compare what is there with what was acknowledged."""
        catalog = _opened(folder, _STILL)
        try:
            collection = catalog.get("things")
            held = _stored(collection)
            for value in range(_UNIVERSE):
                expected = {self._told.get(value), *self._maybe.get(value, ())}
                if held.get(value) not in expected:
                    kind = (
                        "lost"
                        if value not in held
                        else "stale"
                        if value in self._told
                        else "phantom"
                    )
                    self._see(kind, f"{fault}: item {value}")
            ids = np.array(sorted(held), np.int64)
            rows = [np.frombuffer(held[value], np.float32) for value in ids.tolist()]
            best = oracle.best(Metric.COSINE, _QUERIES, ids, np.array(rows).reshape(-1, DIM), 20)
            hits = collection.search(SearchRequest("things", _QUERIES, 20, exact=True))
            oracle.assert_equal(TopK(hits.ids, hits.scores, hits.counts), best)
        finally:
            catalog.close()

    def _see(self, kind: str, example: str) -> None:
        setattr(self._tally, kind, getattr(self._tally, kind) + 1)
        if len(self._tally.examples) < 5:
            self._tally.examples.append(example)


def _opened(path: Path, config: IndexConfig) -> Catalog:
    identity, search = ShardIdentity("test", 0, 1), SearchConfig(threads=1)
    return Catalog(path, identity, Limits(), config, search, disk=Disk(path, _STORAGE))


def _stored(collection: Collection) -> Items:
    page = collection.scroll(10_000, b"")
    assert page.items.vectors is not None
    pairs = zip(page.items.ids.tolist(), page.items.vectors, strict=True)
    return {value: vector.tobytes() for value, vector in pairs}


def _faults(choice: random.Random) -> Iterator[tuple[str, int]]:
    """Name kinds and places of faults: each kind in turn, spread over the workload."""
    turn = 0
    while True:
        for kind, calls in _CALLS.items():
            # the golden ratio: however many there are, they lie evenly
            share = (0.618_033_988_749_895 * turn + choice.random() / 1_000) % 1.0
            yield kind, 1 + int(calls * share)
        turn += 1


def trials(
    folder: Path, control: Control, seconds: float, seed: int, notice_s: float = _WAIT_S
) -> Tally:
    """Try faults for so long; in a process that has `folder` on the faulty disk."""
    choice, tally, ends = random.Random(seed), Tally(), time.monotonic() + seconds
    for number, (kind, call) in enumerate(_faults(choice)):
        if time.monotonic() > ends and len(tally.fired) == len(_CALLS):
            return tally
        place = folder / str(number)
        place.mkdir()
        Trial(place, control, choice, tally, notice_s).run(kind, call)
        shutil.rmtree(place)
    raise AssertionError("there are always more faults")


def main(folder: Path, seconds: float, seed: int, *, careless: bool) -> None:
    """Try faults and print the tally as JSON; careless: on a disk that forgets its failures."""
    logging.disable()
    if careless:
        failed = Disk._failed

        def forgetful(self: Disk, kind: str, error: Exception) -> NotReady:
            made = failed(self, kind, error)
            self._failed_kind = None
            return made

        Disk._failed = forgetful  # type: ignore[method-assign]
    with Control(folder.with_name("control")) as control:
        notice_s = 0.05 if careless else _WAIT_S
        sys.stdout.write(json.dumps(vars(trials(folder, control, seconds, seed, notice_s))))


def tried(seconds: float, seed: int, *, careless: bool = False) -> Tally:
    """Start a process under the library and let it try."""
    with tempfile.TemporaryDirectory(prefix="io-errors-") as name:
        folder, control = Path(name, "data"), Path(name, "control")
        folder.mkdir()
        Control(control).close()
        command = [sys.executable, "-m", __spec__.name, str(folder), str(seconds), str(seed)]
        command += ["careless"] * careless
        done = subprocess.run(
            command,
            env=environment(folder, control=control),
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    values = json.loads(done.stdout)
    return Tally(**(values | {"fired": Counter(values["fired"])}))


def run(seconds: float, seed: int) -> Outcome:
    """Try faults of every kind, at places spread over a workload.

    Args:
        seconds: about how long.
        seed: of the workload and the places.
    """
    control = tried(min(5.0, seconds / 4), seed, careless=True)
    assert control.told_after, "the positive control was not seen"
    tally = tried(seconds, seed)
    text = f"a disk that forgets: {control.told_after} acknowledged after {sum(control.fired.values())} errors"
    return replace(outcome_of(tally, seed), control=text)


def outcome_of(tally: Tally, seed: int) -> Outcome:
    """Put a tally into the table's words: an acknowledgement after the error is a wrong one."""
    fired = ", ".join(f"{n} of {kind}" for kind, n in sorted(tally.fired.items()))
    notes = f"failed: {fired}, at {tally.places} places tried; acknowledged after it: {tally.told_after}; searches: {tally.searches}"
    return Outcome(
        fault=f"a call fails once ({errno.errorcode[errno.EIO]})",
        # At the other places the workload ended before the call.
        trials=sum(tally.fired.values()),
        acknowledged=tally.told,
        lost=tally.lost,
        stale=tally.stale,
        phantom=tally.phantom,
        wrong=tally.wrong + tally.told_after,
        notes="; ".join([notes, f"seed {seed}", *tally.examples]),
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(
            Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), careless="careless" in sys.argv
        )
