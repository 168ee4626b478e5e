"""Fields are declared and dropped while shards are killed, and items written and searched.

A declaration that was acknowledged must hold on every shard, whatever was killed; an answer is
that of brute force over the payloads, or it is refused.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.faults.clusters import BUSY, running
from tests.faults.outcome import Outcome
from tests.matching import accepts
from tests.waiting import wait_until

import fanlight
from fanlight import field as condition
from fanlight.cli.local_cluster import LocalCluster
from fanlight.conditions import as_filter
from fanlight.errors import FanlightError, InvalidRequest, NotReady, Overloaded
from fanlight.placement import shard_name

NAME = "items"
SHARDS = 3
EVERY_SHARD = [shard_name(index) for index in range(SHARDS)]
DIM = 8
# Items that nobody writes to, and ids that are written and deleted all the time.
KEPT = np.arange(2_000)
CHANGING = np.arange(2_000, 3_000)
K = 20
CALL_S = 120.0
SERVING_S = 120.0
# Changes within which a server that forgets values must be caught.
CONTROL_CHANGES = 6

N, WORD = condition("n"), condition("word")
# "word" is declared all the time. Values of what changes are 1,000 and more.
FILTERS = [
    N < 50,
    N.is_in([7, 70]),
    (WORD == "w1") & N.range(gte=20, lt=30),
    ~N.exists(),
]
REFUSALS = (NotReady, InvalidRequest, Overloaded)


def payload_of(item: int) -> dict[str, Any]:
    """Give the payload of an item that nobody writes to."""
    return {"n": item % 100, "word": f"w{item % 7}"}


def vectors(seed: int, rows: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Give some vectors."""
    return np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)


BASE, QUERIES = vectors(1, len(KEPT)), vectors(2, 3)
PAYLOADS = [payload_of(item) for item in KEPT.tolist()]


@dataclass
class Tally:
    """What the trials came to."""

    changes: int = 0
    kills: int = 0
    interrupted: int = 0
    written: int = 0
    right: int = 0
    refused: int = 0
    lost: int = 0
    wrong: int = 0
    crashes: int = 0
    built_s: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def compare(self, what: str, got: object, expected: object) -> None:
        """Count an answer."""
        if got == expected:
            self.right += 1
            return
        self.wrong += 1
        if len(self.examples) < 5:
            self.examples.append(f"{what}: {got}, not {expected}")


def brute_force(filter: fanlight.Filter, payloads: Sequence[Mapping[str, Any]]) -> int:
    """Count the payloads that a filter accepts."""
    return sum(accepts(filter, payload) for payload in payloads)


EXPECTED = [brute_force(filter, PAYLOADS) for filter in FILTERS]


class Trial:
    """A cluster whose fields change and whose shards are killed."""

    def __init__(self, cluster: LocalCluster, seed: int) -> None:
        self.tally = Tally()
        self._cluster = cluster
        self._choice = random.Random(seed)
        self._declared: dict[str, str] = {}
        with fanlight.Client(cluster.address) as client:
            items = client.create_collection(
                NAME, dim=DIM, m=8, ef_construction=40, filterable={"word": "keyword"}
            )
            items.upsert(KEPT, BASE, PAYLOADS, timeout=CALL_S)

    # --- beside the changes ---------------------------------------------------------------

    def _write(self, stopped: threading.Event, seed: int) -> None:
        rng = np.random.default_rng(seed)
        with fanlight.Client(self._cluster.address, max_attempts=1) as client:
            items = client.collection(NAME)
            while not stopped.is_set():
                ids = rng.choice(CHANGING, 60, replace=False)
                payloads = [
                    {"n": int(n), "word": "changing"} for n in rng.integers(1_000, 2_000, 60)
                ]
                try:
                    done = items.upsert(ids, vectors(seed, 60), payloads, errors="return")
                    items.delete(ids[:6], errors="return")
                except FanlightError:
                    continue  # a shard is gone; what became of the rows is read later
                self.tally.written += done.written

    def _read(self, stopped: threading.Event) -> None:
        with fanlight.Client(self._cluster.address, max_attempts=1) as client:
            items = client.collection(NAME)
            while not stopped.is_set():
                for filter, expected in zip(FILTERS, EXPECTED, strict=True):
                    self._ask(items, filter, expected)

    def _ask(self, items: fanlight.Collection, filter: fanlight.Filter, expected: int) -> None:
        try:
            count = items.count(filter=filter, timeout=CALL_S)
            hits = items.search(QUERIES, k=K, filter=filter, timeout=CALL_S)
        except REFUSALS:
            self.tally.refused += 1
            return
        self.tally.compare(f"count {filter}", count, expected)
        width = min(K, expected)
        self.tally.compare(f"hits {filter}", hits.counts.tolist(), [width] * len(QUERIES))
        found = hits.ids[hits.ids >= 0].tolist()
        right = [i for i in found if i < len(KEPT) and accepts(filter, PAYLOADS[i])]
        self.tally.compare(f"ids {filter}", found, right)

    # --- changes --------------------------------------------------------------------------

    def change(self, *, kill: bool | None = None) -> None:
        """Change the fields, most times with a kill in the middle, and compare everything."""
        wanted = self._choice.choice([d for d in _DECLARATIONS if d != self._declared])
        kills = self._choice.random() < 0.75 if kill is None else kill
        stopped = threading.Event()
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(3))
            stack.callback(stopped.set)
            beside = [
                pool.submit(self._write, stopped, self._choice.randrange(2**31)),
                pool.submit(self._read, stopped),
            ]
            changing = pool.submit(self._update, wanted)
            if kills:
                stopped.wait(self._choice.uniform(0, 0.4))
                self._kill(changing)
            changing.result(SERVING_S)
            self._compare_declarations(wanted)
            self._await_built(wanted)
            if wanted:  # under writes, with columns that were just built
                answered = self.tally.right + self.tally.wrong
                wait_until(
                    lambda: self.tally.right + self.tally.wrong > answered + 3 * len(FILTERS),
                    SERVING_S,
                    step_s=0.02,
                )
            stopped.set()
            for future in beside:
                future.result(SERVING_S)
        self._declared = wanted
        self.tally.changes += 1
        self._compare(wanted)

    def _update(self, wanted: dict[str, str]) -> None:
        """Change the fields, again and again until that is acknowledged."""
        with fanlight.Client(self._cluster.address, max_attempts=1) as client:

            def is_acknowledged() -> bool:
                try:
                    client.update_collection(NAME, add_fields=wanted, drop_fields=["n"])
                except NotReady:
                    return False
                return True

            wait_until(is_acknowledged, SERVING_S, step_s=0.02)

    def _kill(self, changing: Future[None]) -> None:
        name = self._choice.choice(EVERY_SHARD)
        self.tally.crashes += sum(p.exit_status is not None for p in self._cluster.processes)
        self.tally.interrupted += not changing.done()
        self._cluster.kill(name)
        self.tally.kills += 1
        self._cluster.restart(name)

    def _compare_declarations(self, wanted: dict[str, str]) -> None:
        """What was acknowledged holds on every shard, also on one that was killed since."""
        with fanlight.Client(self._cluster.address) as client:
            wait_until(lambda: client.status(timeout=CALL_S).complete, SERVING_S, step_s=0.02)
            for shard in client.status(timeout=CALL_S).shards:
                (info,) = [i for i in shard.collections if i.spec.name == NAME]
                if info.spec.filterable != {"word": "keyword", **wanted}:
                    self.tally.lost += 1
                    self.tally.examples.append(f"{shard.identity.name}: {info.spec.filterable}")

    def _await_built(self, wanted: dict[str, str]) -> None:
        started = time.monotonic()
        with fanlight.Client(self._cluster.address) as client:
            wait_until(
                lambda: not client.get_collection(NAME, timeout=CALL_S).building_fields,
                SERVING_S,
                step_s=0.02,
            )
        if wanted:
            self.tally.built_s.append(time.monotonic() - started)

    def _compare(self, wanted: dict[str, str]) -> None:
        """With nobody writing: hold counts to brute force over the payloads that are there."""
        with fanlight.Client(self._cluster.address) as client:
            items = client.collection(NAME)
            got = items.get(np.concatenate([KEPT, CHANGING]), with_vectors=False, timeout=CALL_S)
            payloads = [payload or {} for payload in got.payloads or ()]
            for conditions in (*FILTERS, N >= 1_000, N.range(gte=1_200, lt=1_500)):
                filter = as_filter(conditions)
                if not wanted:
                    self._must_be_refused(items, filter)
                    continue
                count = items.count(filter=filter, timeout=CALL_S)
                self.tally.compare(f"count {filter}", count, brute_force(filter, payloads))

    def _must_be_refused(self, items: fanlight.Collection, filter: fanlight.Filter) -> None:
        try:
            count = items.count(filter=filter, timeout=CALL_S)
        except InvalidRequest:
            self.tally.right += 1
        else:
            self.tally.compare(f"count {filter} of a dropped field", count, "refused")


_DECLARATIONS: list[dict[str, str]] = [{}, {"n": "int"}, {"n": "float"}]


def run(seconds: float, seed: int) -> Outcome:
    """Change fields for `seconds`, at least three times."""
    ends = time.monotonic() + seconds
    control = caught(seed)
    return changed(seed, lambda tally: tally.changes >= 3 and time.monotonic() >= ends, control)


def changed(seed: int, enough: Callable[[Tally], bool], control: str = "") -> Outcome:
    """Change fields until it is enough; give what came of it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), shards=SHARDS, server=BUSY) as cluster,
    ):
        trial = Trial(cluster, seed)
        tally = trial.tally
        trial.change(kill=True)
        while not enough(tally):
            trial.change()
    notes = (
        f"{tally.kills} kills, {tally.interrupted} before the change was acknowledged; "
        f"{tally.right} answers right, {tally.refused} refused; {tally.written} rows written"
    )
    return Outcome(
        fault="fields declared and dropped while shards are killed",
        trials=tally.changes,
        acknowledged=tally.changes,
        lost=tally.lost,
        wrong=tally.wrong,
        crashes=tally.crashes,
        recovery_s=(statistics.median(tally.built_s), max(tally.built_s))
        if tally.built_s
        else None,
        control=control,
        notes="; ".join([notes, *tally.examples]),
    )


def caught(seed: int) -> str:
    """Show that these trials see wrong answers: build fields without some of the values.

    Raises:
        AssertionError: they do not.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            Path(folder), shards=SHARDS, server=BUSY, module="tests.faults.forgetful_server"
        ) as cluster,
    ):
        trial = Trial(cluster, seed)
        for _ in range(CONTROL_CHANGES):
            trial.change(kill=False)
            if trial.tally.wrong:
                return f"a server that forgets values gave {trial.tally.wrong} wrong answers"
    raise AssertionError("a server that forgets values was not caught")
