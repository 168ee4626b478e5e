"""Random sequences of calls to a real cluster against a dictionary (Hypothesis).

Upserts, deletions, reads, searches, scrolls, counts, and kill -9 of a process now and then. The
seed of each round is in the report; `--seed` repeats a run.
"""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.faults.clusters import BUSY, running
from tests.faults.outcome import Outcome
from tests.waiting import wait_until

import fanlight
from fanlight.cli.local_cluster import ROUTER, LocalCluster
from fanlight.model import DeleteResult
from fanlight.placement import shard_name

SHARDS = 2
DIM = 4
IDS = 48
CALL_S = 120.0
STEPS_OF_AN_EXAMPLE = 300
EXAMPLES_OF_A_ROUND = 10
# A call is mostly waiting for other processes: two players keep two cores busy.
PLAYERS = 2
# Rounds in which what is broken on purpose must be seen: in some, Hypothesis leaves out the very
# calls that would show it.
CONTROL_ROUNDS = 30
# Every so many examples end with a kill, after which everything is compared.
KILL_EVERY = 40
# One in about so many steps that could kill does.
_DICE = 400
# Whole numbers, so that squared distances are exact in float32 in any order.
VECTORS = np.random.default_rng(5).integers(-9, 10, (64, DIM)).astype(np.float32)

number = st.integers(0, len(VECTORS) - 1)
# A batch is drawn at one stroke, from a seed: element by element Hypothesis would take longer than
# the cluster does.
batch_seed = st.integers(0, 2**32 - 1)
BATCH_MAX = 8


def drawn_ids(batch: int) -> list[int]:
    """Draw some ids, perhaps one of them twice."""
    dice = random.Random(batch)
    return dice.choices(range(IDS), k=dice.randint(1, BATCH_MAX))


def drawn_items(batch: int, most: int = BATCH_MAX) -> list[tuple[int, int]]:
    """Draw some ids and rows of VECTORS."""
    dice = random.Random(batch)
    return [
        (dice.randrange(IDS), dice.randrange(len(VECTORS))) for _ in range(dice.randint(1, most))
    ]


@dataclass
class Tally:
    """What was tried."""

    steps: int = 0
    examples: int = 0
    kills: int = 0
    acknowledged: int = 0
    crashes: int = 0
    wrong: list[str] = field(default_factory=list)


class Steps(RuleBasedStateMachine):
    """One collection and its dictionary. What is below is set on a subclass for each run."""

    cluster: ClassVar[LocalCluster]
    client: ClassVar[fanlight.Client]
    tally: ClassVar[Tally]
    # Alters what the steps see; the positive control's.
    seen_through: ClassVar[Callable[[fanlight.Collection], Any]]

    def __init__(self) -> None:
        super().__init__()
        type(self).tally.examples += 1
        self.name = f"example-{self.tally.examples}"
        self.strings = False
        # the vector and payload of each item, as a row of VECTORS
        self.model: dict[Any, int] = {}

    @initialize(strings=st.booleans(), batch=batch_seed)
    def create(self, strings: bool, batch: int) -> None:
        self.strings = strings
        made = self.client.create_collection(
            self.name,
            dim=DIM,
            metric="l2",
            id_type="string" if strings else "int64",
            m=8,
            ef_construction=40,
            filterable={"n": "int"},
            timeout=CALL_S,
        )
        self.items = type(self).seen_through(made)
        # Hypothesis leaves some rules out of each sequence; what is read should never be nothing.
        self.put(drawn_items(batch, IDS))

    def id_of(self, drawn: int) -> Any:
        return f"id-{drawn}" if self.strings else drawn

    def count_step(self) -> None:
        self.tally.steps += 1

    @rule(batch=batch_seed)
    def upsert(self, batch: int) -> None:
        self.count_step()
        self.put(drawn_items(batch))

    @rule(batch=batch_seed)
    def upsert_many(self, batch: int) -> None:
        self.count_step()
        self.put(drawn_items(batch, IDS))

    def put(self, batch: list[tuple[int, int]]) -> None:
        names = [self.id_of(drawn) for drawn, _ in batch]
        rows = [row for _, row in batch]
        payloads = [{"n": row} for row in rows]
        result = self.items.upsert(names, VECTORS[rows], payloads, timeout=CALL_S)
        assert result.written == len(set(names)), "upsert: written"
        self.tally.acknowledged += result.written
        self.model.update(zip(names, rows, strict=True))

    @rule(batch=batch_seed)
    def delete(self, batch: int) -> None:
        self.count_step()
        names = [self.id_of(each) for each in drawn_ids(batch)]
        existing = {name for name in names if name in self.model}
        result = self.items.delete(names, timeout=CALL_S)
        assert result.deleted == len(existing), "delete: deleted"
        self.tally.acknowledged += len(existing)
        for name in existing:
            del self.model[name]

    @rule(batch=batch_seed)
    def get(self, batch: int) -> None:
        self.count_step()
        names = [self.id_of(each) for each in drawn_ids(batch)]
        got = self.items.get(names, timeout=CALL_S)
        found = [name for name in names if name in self.model]
        assert got.ids.tolist() == found, "get: ids"
        assert got.missing.tolist() == [name for name in names if name not in self.model]
        self.check_columns(found, got.vectors, got.payloads)

    def check_columns(self, names: list[Any], vectors: Any, payloads: Any) -> None:
        assert set(names) <= set(self.model), "items that nobody has"
        rows = [self.model[name] for name in names]
        np.testing.assert_array_equal(vectors, VECTORS[rows])
        assert payloads == [{"n": row} for row in rows], "payloads"

    @rule(query=number, k=st.integers(1, IDS + 5), most=st.none() | number)
    def search(self, query: int, k: int, most: int | None) -> None:
        """The exact answer is that of brute force, with a filter or without."""
        self.count_step()
        condition = None if most is None else {"n": {"lte": most}}
        hits = self.items.search(VECTORS[query], k=k, exact=True, filter=condition, timeout=CALL_S)
        found = list(zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True))
        assert found[: hits.counts[0]] == self.nearest(query, k, most), "search"

    def nearest(self, query: int, k: int, most: int | None) -> list[tuple[Any, float]]:
        allowed = [(n, row) for n, row in self.model.items() if most is None or row <= most]
        scored = [
            (name, -float(((VECTORS[row] - VECTORS[query]) ** 2).sum())) for name, row in allowed
        ]
        return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]

    @rule(query=number, k=st.integers(1, 10))
    def walk(self, query: int, k: int) -> None:
        """A walk of the graphs gives items that exist, each once, with their scores."""
        self.count_step()
        hits = self.items.search(VECTORS[query], k=k, timeout=CALL_S)
        found = hits.ids[0, : hits.counts[0]].tolist()
        assert len(found) == min(k, len(self.model)) == len(set(found)), "walk: hits"
        scores = dict(self.nearest(query, len(self.model), None))
        assert hits.scores[0, : len(found)].tolist() == [scores.get(n) for n in found]

    @rule(drawn=st.integers(0, IDS - 1), k=st.integers(1, 10))
    def search_by_id(self, drawn: int, k: int) -> None:
        self.count_step()
        name = self.id_of(drawn)
        hits = self.items.search_by_id([name], k=k, exact=True, errors="return", timeout=CALL_S)
        expected: list[tuple[Any, float]] = []
        if name in self.model:
            nearest = self.nearest(self.model[name], len(self.model), None)
            expected = [hit for hit in nearest if hit[0] != name][:k]
        found = zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True)
        assert list(found)[: hits.counts[0]] == expected, "search by id"

    @rule(page_size=st.integers(1, 60))
    def scroll(self, page_size: int) -> None:
        self.count_step()
        self.compare(page_size)

    def compare(self, page_size: int = 1_000) -> None:
        names: list[Any] = []
        for page in self.items.scroll(page_size=page_size, timeout=CALL_S):
            self.check_columns(page.ids.tolist(), page.vectors, page.payloads)
            names += page.ids.tolist()
        assert len(names) == len(set(names)), "scroll: an id twice"
        assert set(names) == set(self.model), "scroll: ids"

    @rule()
    def count(self) -> None:
        self.count_step()
        assert self.items.count(timeout=CALL_S) == len(self.model), "count"

    @rule(which=st.integers(0, SHARDS), dice=st.integers(0, _DICE - 1))
    def kill(self, which: int, dice: int) -> None:
        """Now and then; one restart takes as long as some hundred other steps."""
        if dice == _DICE // 3:
            self.count_step()
            self.kill_and_compare(which)

    def kill_and_compare(self, which: int) -> None:
        name = ROUTER if which == SHARDS else shard_name(which)
        self.cluster.kill(name)
        self.cluster.restart(name)
        self.tally.kills += 1
        _await_whole(self.client)
        self.compare()

    def teardown(self) -> None:
        if self.tally.examples % KILL_EVERY == 1:
            self.kill_and_compare(self.tally.examples // KILL_EVERY % (SHARDS + 1))
        self.client.delete_collection(self.name, timeout=CALL_S)


def _await_whole(client: fanlight.Client) -> None:
    wait_until(
        lambda: client.status(timeout=CALL_S).complete, CALL_S, "the cluster is whole", step_s=0.02
    )


@contextmanager
def machine(
    tally: Tally, seen_through: Callable[[fanlight.Collection], Any] = lambda items: items
) -> Iterator[type[Steps]]:
    """Give the steps over a cluster of their own."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        cluster = stack.enter_context(running(Path(folder), shards=SHARDS, server=BUSY))
        client = stack.enter_context(fanlight.Client(cluster.address))
        given = {"cluster": cluster, "client": client, "tally": tally}
        altered = {"seen_through": staticmethod(seen_through)}
        yield cast(type[Steps], type("OneRun", (Steps,), given | altered))


def play(steps: type[Steps], number: int, examples: int = EXAMPLES_OF_A_ROUND) -> None:
    """Play one round; raises AssertionError when an answer is not that of the dictionary."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS_OF_AN_EXAMPLE,
        deadline=None,
        database=None,
        # A failure is told as it was found: every try to shorten it could kill processes again.
        phases=(Phase.generate,),
        suppress_health_check=(
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
            HealthCheck.filter_too_much,
        ),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(seed(number)(steps), settings=chosen)


class Forgetful:
    """A collection that acknowledges the last deletion of each batch and forgets it."""

    def __init__(self, items: fanlight.Collection) -> None:
        self._items = items

    def __getattr__(self, name: str) -> Any:
        return getattr(self._items, name)

    def delete(self, names: list[Any], timeout: float) -> DeleteResult:
        """Delete all but the last."""
        kept = {name for name in names if name != names[-1]}
        existed = len(self._items.get(names[-1:], timeout=timeout).ids)
        done = self._items.delete(list(kept), timeout=timeout).deleted if kept else 0
        return DeleteResult(done + existed, ())


def caught(number: int) -> str:
    """Show that the dictionary sees wrong answers: play with deletions that are forgotten.

    Raises:
        AssertionError: they are not seen.
    """
    tally = Tally()
    with machine(tally, Forgetful) as steps:
        for another in range(CONTROL_ROUNDS):
            try:
                play(steps, number + another)
            except AssertionError:
                return f"a deletion that is acknowledged and forgotten, seen in {tally.steps} steps"
    raise AssertionError("a deletion that is acknowledged and forgotten was not seen")


def played(seconds: float, seed: int) -> Tally:
    """Play rounds on a cluster for `seconds`, one at least; ends at the first wrong answer."""
    ends, dice, tally = time.monotonic() + seconds, random.Random(seed), Tally()
    with machine(tally) as steps:
        while not tally.wrong and (not tally.steps or time.monotonic() < ends):
            number = dice.randrange(2**32)
            try:
                play(steps, number)
            except Exception as error:
                told = " ".join([str(error), *getattr(error, "__notes__", ())])
                tally.wrong.append(f"round {number}: {type(error).__name__}: {told}")
        tally.crashes = sum(p.exit_status is not None for p in steps.cluster.processes)
    return tally


def run(seconds: float, seed: int) -> Outcome:
    """Play rounds for `seconds`, each player on a cluster of its own."""
    ends = time.monotonic() + seconds
    control = caught(seed)
    left = max(0.0, ends - time.monotonic())
    # Spawned, since gRPC's threads do not survive a fork.
    with ProcessPoolExecutor(PLAYERS, multiprocessing.get_context("spawn")) as pool:
        playing = [pool.submit(played, left, seed + player) for player in range(PLAYERS)]
        tallies = [future.result() for future in playing]
    examples, kills = sum(t.examples for t in tallies), sum(t.kills for t in tallies)
    wrong = [told for tally in tallies for told in tally.wrong]
    return Outcome(
        fault="random calls and kills against a dictionary",
        trials=sum(tally.steps for tally in tallies),
        acknowledged=sum(tally.acknowledged for tally in tallies),
        wrong=len(wrong),
        crashes=sum(tally.crashes for tally in tallies),
        control=control,
        notes="; ".join([f"{examples} sequences, {kills} kills, seed {seed}", *wrong]),
    )
