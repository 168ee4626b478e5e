"""Damaged files: whatever is done to a file of a shard that does not run, it is noticed.

Each trial damages one file of a copy of a data directory, starts a shard's catalog on it, reads
everything and compares that with a model; and lets `fanlight check` look at it. Damage to bytes
that nobody reads (room in SQLite's pages) changes no answer: it is counted apart.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from tests.faults.outcome import Outcome
from tests.pieces import floats, ids_of, spec_of
from tests.storage.conftest import LAZY, STILL
from tests.storage.model import Model, check, search

from fanlight.errors import Corruption, FanlightError
from fanlight.limits import Limits
from fanlight.model import IdType, ItemBatch
from fanlight.placement import ShardIdentity
from fanlight_server.catalog import Catalog
from fanlight_server.check.directory import check as check_directory
from fanlight_server.index.settings import IndexConfig, SearchConfig

DIM = 8
QUERIES = floats(99, 2, DIM)
NAMES = {"numbers": IdType.INT64, "texts": IdType.STRING}
PAGE = 4096
# Where every byte is tried in the long form: SQLite's header, and a segment's with its table.
HEADER = 100

Models = dict[str, Model]


def opened(directory: Path, shard: int = 0, config: IndexConfig = STILL) -> Catalog:
    """Open the catalog of a shard, which builds nothing by itself."""
    identity = ShardIdentity("damage", shard, 2)
    return Catalog(directory, identity, Limits(), config, SearchConfig(threads=1))


def write(catalog: Catalog, models: Models, seed: int) -> None:
    """Write items, overwrite and delete some, and build a segment in between."""
    for name, model in models.items():
        collection = catalog.get(name)
        for first, count, salt in ((100 * seed - 100, 300 // seed, 0), (40 * seed, 60, 1)):
            ids = ids_of(range(first, first + count), model.id_type)
            payloads = [b'{"n": %d}' % n for n in range(count)]
            batch = ItemBatch(ids, floats(10 * seed + salt, count, DIM), payloads)
            collection.upsert(batch).result()
            model.put(batch)
            gone = ids_of(range(first + 5, first + 15), model.id_type)
            collection.delete(gone).result()
            model.drop(gone)
            while not salt and collection.keeper.build_next(1):
                pass


@dataclass
class Sound:
    """Sound data directories, and what they hold.

    Attributes:
        home: of the shard that is damaged, after a clean stop.
        killed: the same with its write-ahead logs, as a kill leaves it.
        older: an earlier state of it.
        other: another shard's with the same collections.
        models: what `home` and `killed` hold.
    """

    home: Path
    killed: Path
    older: Path
    other: Path
    models: Models

    @classmethod
    def make(cls, scratch: Path) -> Sound:
        """Write them."""
        home, killed, older, other = (scratch / n for n in ("home", "killed", "older", "other"))
        models = {name: Model(DIM, id_type) for name, id_type in NAMES.items()}
        for place, shard, kept in ((other, 1, {n: Model(DIM, t) for n, t in NAMES.items()}),
                                   (home, 0, models)):  # fmt: skip
            with closing(opened(place, shard, LAZY)) as catalog:
                for name, model in kept.items():
                    catalog.create(spec_of(DIM, id_type=model.id_type, name=name))
                write(catalog, kept, 1)
        shutil.copytree(home, older)
        with closing(opened(home)) as catalog:  # no build may be under way when it is copied
            write(catalog, models, 2)
            shutil.copytree(home, killed)
        return cls(home, killed, older, other, models)

    def files(self, directory: Path) -> list[Path]:
        """List the files of a directory that hold something, relative to it."""
        paths = (p for p in sorted(directory.rglob("*")) if p.is_file() and p.name != "LOCK")
        return [path.relative_to(directory) for path in paths if path.stat().st_size]


# --- damages: each changes a file where it is --------------------------------------------------


def flip(path: Path, at: int, bit: int) -> None:
    """Turn one bit over."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def flip_twice(path: Path) -> None:
    """Undo what was done."""
    for _ in range(2):
        flip(path, 50, 1)


def zero(path: Path, at: int) -> None:
    """Write zeros over a page that holds something else."""
    data = bytearray(path.read_bytes())
    size = min(PAGE, len(data) - at)
    data[at : at + size] = bytes(size) if any(data[at : at + size]) else b"\1" * size
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    """Leave only the beginning."""
    path.write_bytes(path.read_bytes()[:size])


def put(path: Path, other: Path) -> None:
    """Put another file in its place, or remove it where there is no other."""
    path.unlink()
    if other.exists():
        shutil.copyfile(other, path)


@dataclass(frozen=True)
class Damage:
    """One damage to one file.

    Attributes:
        kind: what is done, in a word.
        base: the sound directory that is copied.
        file: relative to it.
        do: damages the file at a path.
    """

    kind: str
    base: Path
    file: Path
    do: Callable[[Path], None]

    def __str__(self) -> str:
        return f"{self.kind} {self.base.name}/{self.file}"


def damages(sound: Sound, choice: random.Random) -> Iterator[Damage]:
    """Give damages without end: every file and every kind of damage in turn."""
    turn = 0
    while True:
        for base in (sound.home, sound.killed):
            for file in sound.files(base):
                for kind in (
                    "header",
                    "flip",
                    "used",
                    "zero",
                    "cut",
                    "empty",
                    "swap",
                    "mix",
                    "stale",
                ):
                    damage = _damage(kind, sound, base, file, choice, turn)
                    if damage is not None:
                        yield Damage(kind, base, file, damage)
        turn += 1


def _damage(
    kind: str, sound: Sound, base: Path, file: Path, choice: random.Random, turn: int
) -> Callable[[Path], None] | None:
    data = (base / file).read_bytes()
    at, bit = choice.randrange(len(data)), choice.randrange(8)
    if kind == "header":
        return lambda path: flip(path, (turn * 8 + bit) % min(HEADER, len(data)), bit)
    if kind == "flip":
        return lambda path: flip(path, at, bit)
    if kind == "used":
        places = [place for place, byte in enumerate(data) if byte]
        place = choice.choice(places)
        return lambda path: flip(path, place, bit)
    if kind == "zero":
        return lambda path: zero(path, at // PAGE * PAGE)
    if kind == "cut":
        return lambda path: cut(path, at)
    if kind == "empty":
        return lambda path: cut(path, 0)
    other = _other(kind, sound, file)
    if file.name.endswith(("-wal", "-shm")) or other is None or same(other, base / file):
        return None  # nothing to put there
    return lambda path: put(path, other)


def _other(kind: str, sound: Sound, file: Path) -> Path | None:
    if kind == "swap":
        return sound.other / file
    if kind == "stale":
        return sound.older / file
    if "numbers@1" in file.parts or "texts@1" in file.parts:
        text = str(file)
        mixed = (
            text.replace("numbers@1", "?").replace("texts@1", "numbers@1").replace("?", "texts@1")
        )
        return sound.home / mixed
    return None


def same(one: Path, other: Path) -> bool:
    """Tell whether two files are the same, or both are not there."""
    if not (one.exists() and other.exists()):
        return one.exists() == other.exists()
    return one.read_bytes() == other.read_bytes()


# --- what becomes of it ------------------------------------------------------------------------


@contextmanager
def warnings() -> Iterator[list[str]]:
    """Collect the warnings that a server logs."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("fanlight_server")
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield found
    finally:
        logger.propagate = before
        logger.removeHandler(handler)


def served(directory: Path, models: Models) -> str:
    """Start a shard and read everything: "refused", "refused when read", "rebuilt", "same", "wrong: ..."."""
    with warnings() as logged:
        try:
            catalog = opened(directory)
        except Corruption:
            return "refused"
        except FanlightError as error:
            return f"refused: {type(error).__name__}"
        try:
            for name, model in models.items():
                check(catalog.get(name), model, QUERIES)
                walk(catalog, name, model)
        except Corruption:
            return "refused when read"
        except Exception as error:
            return f"wrong: {type(error).__name__}"
        finally:
            with suppress(Corruption):
                catalog.close()
    return "rebuilt" if logged else "same"


def walk(catalog: Catalog, name: str, model: Model) -> None:
    """Search by the graph, and ask for what was deleted."""
    hits = search(catalog.get(name), QUERIES, 10, exact=False)
    best = model.best(QUERIES, len(model.items))
    for row, count in enumerate(hits.counts.tolist()):
        scores = dict(zip(best.ids[row].tolist(), best.scores[row].tolist(), strict=True))
        assert count == 10
        for value, score in zip(hits.ids[row].tolist(), hits.scores[row].tolist(), strict=True):
            assert abs(scores[value] - score) < 1e-5
    gone = ids_of(np.arange(5, 15), model.id_type)
    assert [value for value in gone.tolist() if value in model.items] == (
        catalog.get(name).get(gone).ids.tolist()
    )


def judge(damage: Damage, models: Models, scratch: Path) -> str:
    """Damage copies of a directory, one for the server and one for the check; say what came of it."""
    places = [scratch / "served", scratch / "checked"]
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(damage.base, place)
        damage.do(place / damage.file)
    answer = served(places[0], models)
    try:
        noticed = not check_directory(places[1]).sound
    except Exception as error:
        return f"wrong: the check ended with {type(error).__name__}: {error}"
    if answer == "same":
        return "found by the check alone" if noticed else "unread"
    if not noticed and not answer.startswith("wrong"):
        return f"wrong: {answer} by the server, passed by the check"
    return answer


def trials(seed: int, until: float, most: int, scratch: Path) -> list[tuple[str, str]]:
    """Run trials until a moment of the wall clock, at the most so many: what was done, what came."""
    sound = Sound.make(scratch)
    done: list[tuple[str, str]] = []
    for damage in damages(sound, random.Random(seed)):
        if len(done) >= most or (time.time() > until and done):
            break
        done.append((str(damage), judge(damage, sound.models, scratch)))
    return done


def controls(scratch: Path) -> str:
    """Show that damage which nobody notices is seen, and that none is seen where there is none.

    Raises:
        AssertionError: one of the two is not so.
    """
    from fanlight_server.storage import store

    sound = Sound.make(scratch)
    for base in (sound.home, sound.killed):
        undone = Damage("flip and flip back", base, Path("catalog.db"), flip_twice)
        assert judge(undone, sound.models, scratch) == "unread"
    file = Path("collections/numbers@1/items.db")
    vector = next(iter(sound.models["numbers"].items.values()))[0].tobytes()
    at = (sound.home / file).read_bytes().rindex(vector)
    place = scratch / "unchecked"
    shutil.copytree(sound.home, place)
    flip(place / file, at + 3, 0)
    with patch.object(store, "is_sound", lambda row, vector_bytes: True):
        assert served(place, sound.models).startswith("wrong"), "a wrong vector was not seen"
    shutil.rmtree(place)
    return "damage undone is not reported; with the checksum of rows off, a flipped bit is seen"


def run(seconds: float, seed: int, most: int = 1_000_000) -> Outcome:
    """Damage files for so many seconds."""
    found: list[tuple[str, str]] = []
    crashes = 0
    with tempfile.TemporaryDirectory() as scratch:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                control = pool.submit(controls, Path(scratch) / "controls").result()
                arguments = (seed, time.time() + seconds, most, Path(scratch) / "trials")
                found = pool.submit(trials, *arguments).result()
            except BrokenProcessPool:
                control, crashes = "", 1
    counts = Counter(answer.partition(":")[0] for _, answer in found)
    wrong = [f"{what}: {answer}" for what, answer in found if answer.startswith("wrong")]
    notes = ", ".join(f"{answer} {n}" for answer, n in sorted(counts.items()))
    return Outcome(
        fault="damaged files",
        trials=len(found),
        wrong=len(wrong),
        crashes=crashes,
        control=control,
        notes=f"seed {seed}; {notes}" + "".join(f"\n  {line}" for line in wrong[:20]),
    )


if __name__ == "__main__":
    import sys

    outcome = run(float(sys.argv[1]), int(sys.argv[2]))
    print(outcome.notes, outcome.trials, outcome.wrong, outcome.crashes, outcome.control)  # noqa: T201
