"""Snapshots under fire: processes are killed while one is taken, and finished ones are damaged.

A snapshot that was taken must hold every write that was acknowledged before it began, nothing
that nobody wrote, and every bit of it. One that broke off must not pass for a whole one. A
damaged one must be refused before anything is created.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
from tests.faults.outcome import Outcome
from tests.faults.snapshot_record import DIM, Record, Verdict, Writer, write
from tests.waiting import wait_until

import fanlight
from fanlight.cli.local_cluster import ROUTER, LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig
from fanlight.errors import Corruption, FanlightError, InvalidRequest, NotReady
from fanlight.model import Rows
from fanlight.snapshots import restoring
from fanlight.snapshots.manifest import FILE_NAME, Manifest, dumps, parse
from fanlight.snapshots.places import Place, place_of
from fanlight.snapshots.verifying import verified
from fanlight_server import open_local

ITEMS = 6_000
SHARDS = 3
_TAKER = """
import sys, fanlight
with fanlight.Client(sys.argv[1]) as client:
    told = lambda done, total: print(done, flush=True)
    client.collection("items").snapshot(sys.argv[2], progress=told)
"""


def run(seconds: float, seed: int) -> Outcome:
    """Kill for about two thirds of the time, then damage until it is over, at least once each."""
    ends = time.monotonic() + seconds
    kills_end = time.monotonic() + seconds * 2 / 3
    with tempfile.TemporaryDirectory() as folder:
        kills = killed(Path(folder), seed, lambda n: n >= 3 and time.monotonic() >= kills_end)
        damages = damaged(Path(folder), seed, lambda n: n >= 40 and time.monotonic() >= ends)
    verdict = kills.verdict
    return Outcome(
        fault="kill -9 while a snapshot is taken; damaged snapshots",
        trials=kills.trials + damages.trials,
        acknowledged=kills.acknowledged,
        lost=verdict.lost,
        stale=verdict.stale,
        phantom=verdict.phantom,
        duplicate=verdict.duplicate,
        wrong=verdict.wrong + kills.half + damages.accepted,
        control=damages.control,
        notes=(
            f"{kills.trials} kills ({kills.whole} snapshots whole all the same, {kills.repeats} "
            f"readings repeated, {kills.refused} not finished and refused); {damages.trials} "
            f"damages, {damages.trials - damages.accepted} refused; seed {seed}"
        ),
    )


# --- kills ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Kills:
    """What came of killing processes.

    Attributes:
        trials: kills.
        whole: snapshots that were whole all the same, each compared with the record.
        refused: those that broke off, and were refused.
        half: those that broke off, and passed for whole ones.
        repeats: how often shards were read again.
        acknowledged: writes meanwhile.
        verdict: of what the whole ones held.
    """

    trials: int = 0
    whole: int = 0
    refused: int = 0
    half: int = 0
    repeats: int = 0
    acknowledged: int = 0
    verdict: Verdict = field(default_factory=Verdict)


def killed(folder: Path, seed: int, enough: Callable[[int], bool]) -> Kills:
    """Take snapshots under write load, each with one process killed on the way."""
    choice, kills, record = random.Random(seed), Kills(), Record(ITEMS)
    with cluster_in(folder / "cluster") as cluster:
        with fanlight.Client(cluster.address) as client:
            collection = client.create_collection("items", dim=DIM)
            write(collection, record, np.arange(ITEMS))
        with Writer(cluster.address, "items", record, seed):
            while not enough(kills.trials):
                victim = ("shard", "router", "taker")[kills.trials % 3]
                dest = folder / f"snapshot-{kills.trials}"
                before = record.acknowledged.copy()
                if victim == "taker":
                    _kill_taker(cluster.address, dest, choice.randrange(1, 10))
                else:
                    name = ROUTER if victim == "router" else f"shard-{choice.randrange(SHARDS)}"
                    kills.repeats += _kill_server(cluster, name, dest, choice)
                kills.trials += 1
                _judge(dest, before, record, kills)
                shutil.rmtree(dest, ignore_errors=True)
        kills.acknowledged = int(record.acknowledged.sum())
    return kills


@contextmanager
def cluster_in(folder: Path, shards: int = SHARDS) -> Iterator[LocalCluster]:
    """Run a cluster; it is killed at the end, since a process of it may be gone."""
    with LocalCluster(LocalConfig(cluster=ClusterShape(port=0, data=folder, shards=shards))) as up:
        try:
            yield up
        finally:
            up.kill_all()


def _kill_server(cluster: LocalCluster, name: str, dest: Path, choice: random.Random) -> int:
    """Take a snapshot, and kill a server once some rows have come; it is started again."""
    after = choice.randrange(ITEMS)
    restart: list[threading.Thread] = []

    def kill_once(done: int, total: int) -> None:
        if done >= after and not restart:
            cluster.kill(name)
            restart.append(threading.Thread(target=_restart, args=(cluster, name)))
            restart[0].start()

    try:
        with fanlight.Client(cluster.address) as client, suppress(FanlightError):
            taken = client.collection("items").snapshot(dest, progress=kill_once)
            return taken.repeats
    finally:
        for thread in restart:
            thread.join()
        _await_all(cluster)
    return 0


def _restart(cluster: LocalCluster, name: str) -> None:
    for _ in range(20):
        with suppress(NotReady):  # its port may be taken for a moment
            return cluster.restart(name)
    cluster.restart(name)


def _await_all(cluster: LocalCluster) -> None:
    """Wait until the router has found every shard."""
    with fanlight.Client(cluster.address) as client:

        def is_whole() -> bool:
            with suppress(FanlightError):
                return client.status().complete
            return False

        wait_until(is_whole, 60, "the cluster is whole", step_s=0.05)


def _kill_taker(address: str, dest: Path, lines: int) -> None:
    """Take a snapshot in a process of its own, and kill that after some messages."""
    argv = [sys.executable, "-c", _TAKER, address, str(dest)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as taker:
        assert taker.stdout is not None
        for _ in range(lines):
            taker.stdout.readline()
        taker.kill()
        taker.communicate()


def _judge(dest: Path, before: Rows, record: Record, kills: Kills) -> None:
    """A snapshot is whole and right, or refused; there is nothing between."""
    with tempfile.TemporaryDirectory() as data, open_local(data) as local:
        try:
            restored = local.restore(dest)
        except Corruption:
            kills.refused += 1
            kills.half += bool(local.list_collections()) or (dest / FILE_NAME).exists()
            return
        kills.whole += 1
        record.judge(before, restored.scroll(), kills.verdict)


# --- damage -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Damages:
    """What came of damaging a snapshot.

    Attributes:
        trials: damages.
        accepted: those that were not refused, or after which something had been created.
        control: how many pass when checksums are not compared.
    """

    trials: int = 0
    accepted: int = 0
    control: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage: what it does to a file, and to which."""

    kind: str
    name: str


def damaged(folder: Path, seed: int, enough: Callable[[int], bool]) -> Damages:
    """Damage every file of a snapshot in every way, again and again, and try to restore it."""
    choice, damages, record = random.Random(seed), Damages(), Record(900)
    source, stale = folder / "sound", folder / "stale"
    with open_local(folder / "source") as local:
        collection = local.create_collection("items", dim=DIM)
        write(collection, record, np.arange(record.n))
        collection.snapshot(stale)
        write(collection, record, np.arange(record.n))
        collection.snapshot(source)
    _split(source)
    _split(stale)
    with open_local(folder / "target") as target:
        names = sorted(path.name for path in source.iterdir())
        kinds = ("flip", "truncate", "append", "zeros", "missing", "swapped", "stale", "empty")
        every = [Damage(kind, name) for kind in kinds for name in names]
        while not enough(damages.trials):
            for damage in every:
                with _damage(source, stale, damage, choice):
                    damages.accepted += _is_accepted(target, source)
                damages.trials += 1
        damages.control = _control(target, source, record, choice)
    return damages


def _split(snapshot: Path) -> None:
    """Make two data files of one, so that there is something to swap."""
    manifest = parse((snapshot / FILE_NAME).read_bytes())
    (entry,) = manifest.files
    table = pq.read_table(snapshot / entry.name)
    (snapshot / entry.name).unlink()
    parts = [table.slice(0, 450), table.slice(450)]
    entries = []
    for number, part in enumerate(parts):
        path = snapshot / f"shard-0000-{number:05d}.parquet"
        pq.write_table(part, path, use_dictionary=False, compression="none")
        blob = path.read_bytes()
        checksum = hashlib.sha256(blob).hexdigest()
        entries.append(
            replace(entry, name=path.name, items=len(part), bytes=len(blob), sha256=checksum)
        )
    (snapshot / FILE_NAME).write_bytes(dumps(replace(manifest, files=tuple(entries))))


@contextmanager
def _damage(snapshot: Path, stale: Path, damage: Damage, choice: random.Random) -> Iterator[None]:
    """Damage a file, and mend it at the end."""
    path = snapshot / damage.name
    sound = {file: file.read_bytes() for file in snapshot.iterdir()}
    blob = bytearray(sound[path])
    at = choice.randrange(len(blob))
    other = choice.choice([file for file in sound if file != path])
    match damage.kind:
        case "flip":
            blob[at] ^= 1 << choice.randrange(8)
        case "truncate":
            del blob[at:]
        case "append":
            blob.append(choice.randrange(256))
        case "zeros":
            start = choice.choice([i for i, byte in enumerate(blob) if byte][:-1])
            blob[start : start + 512] = bytes(len(blob[start : start + 512]))
        case "swapped":
            other.write_bytes(blob)
            blob = bytearray(sound[other])
        case "stale":
            blob = bytearray((stale / damage.name).read_bytes())
        case "empty":
            blob.clear()
    path.write_bytes(blob)
    if damage.kind == "missing":
        path.unlink()
    try:
        yield
    finally:
        for file, content in sound.items():
            file.write_bytes(content)


def _is_accepted(target: fanlight.Client, snapshot: Path) -> bool:
    """Try to restore; tell whether anything came of it."""
    try:
        target.restore(snapshot, name="copy")
    except (Corruption, InvalidRequest):
        return bool(target.list_collections())
    target.delete_collection("copy")
    return True


def _control(target: fanlight.Client, snapshot: Path, record: Record, choice: random.Random) -> str:
    """Flip bits with checksums not compared: what passes then shows that the trials can see it."""

    def unchecked(place: Place) -> Manifest:
        return parse(place.read(FILE_NAME, 1 << 20))

    restored = differing = 0
    trials = 12
    names = [file.name for file in verified(place_of(snapshot)).files]
    with mock.patch.object(restoring, "verified", unchecked):
        for number in range(trials):
            damage = Damage("flip", names[number % len(names)])
            with _damage(snapshot, snapshot, damage, choice), suppress(FanlightError):
                collection = target.restore(snapshot, name="copy")
                restored += 1
                verdict = Verdict()
                record.judge(record.acknowledged, collection.scroll(), verdict)
                differing += verdict.total > 0
                target.delete_collection("copy")
    return (
        f"with checksums not compared {restored} of {trials} flips in data files were restored, "
        f"{differing} of them to other items"
    )
