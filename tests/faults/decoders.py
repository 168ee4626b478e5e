"""Nonsense in our decoders and readers of files: nothing but our own errors may come out.

A child process takes sound inputs apart and decodes what becomes of them, so that a crash of
native code ends the child and not the test. With atheris (`make fuzz`) libFuzzer chooses the inputs
by what they reach; without it they are mutated at random. Checksums are made right again where that
lets the nonsense in further.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from isal.isal_zlib import crc32
from tests.faults.outcome import Outcome
from tests.pieces import block_of, content_of, floats, ids_of, searched, spec_of
from tests.pieces import write as write_segment

from fanlight.conditions import field
from fanlight.config import load
from fanlight.errors import FanlightError
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import (
    CollectionInfo,
    Coverage,
    Hits,
    IdType,
    ItemBatch,
    Items,
    SearchRequest,
)
from fanlight.v1 import collections_pb2, filters_pb2, items_pb2, search_pb2
from fanlight.validation import check_items, check_search, check_spec, judge_items
from fanlight.wire import codec
from fanlight.wire.filter_codec import from_filter, to_filter
from fanlight_server.config import ServerConfig
from fanlight_server.index.segment import Segment
from fanlight_server.index.segment_file import OutdatedSegment
from fanlight_server.paging import from_token, to_token
from fanlight_server.storage import log_check
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import Change

DIM = 4
# No input of these sizes takes a hundredth of this, even on a busy machine.
HANG_S = 60
SPEC = replace(spec_of(DIM, id_type=IdType.STRING), filterable={"n": FieldType.INT})
FILTER = field("n").range(gte=1, lt=9) & ~(field("n").is_in([2, 3]))


@dataclass(frozen=True)
class Target:
    """A decoder.

    Attributes:
        seeds: sound inputs.
        decode: decodes an input; raises what it raises.
    """

    seeds: Sequence[bytes]
    decode: Callable[[bytes], object]


# --- messages: the first byte chooses which ----------------------------------------------------


def _upsert(data: bytes) -> None:
    batch = codec.from_upsert(items_pb2.UpsertItemsRequest.FromString(data))
    check_items(batch, SPEC, Limits())
    judge_items(batch, SPEC, Limits())


def _search(data: bytes) -> None:
    check_search(codec.from_search(search_pb2.SearchRequest.FromString(data)), SPEC, Limits())


def _spec(data: bytes) -> None:
    check_spec(codec.from_spec(collections_pb2.CollectionSpec.FromString(data)), Limits())


MESSAGES: list[Callable[[bytes], object]] = [
    _upsert,
    _search,
    _spec,
    lambda data: from_filter(filters_pb2.Filter.FromString(data)),
    lambda data: codec.from_items(items_pb2.GetItemsResponse.FromString(data)),
    lambda data: codec.from_hits(search_pb2.SearchResponse.FromString(data), 3),
    lambda data: codec.from_info(collections_pb2.Collection.FromString(data)),
    lambda data: from_token(data, IdType.STRING),
    lambda data: from_token(data, IdType.INT64),
]


def messages() -> Target:
    """Decode messages of the wire, and judge them as a shard does."""
    ids, vectors = ids_of(range(3), IdType.STRING), floats(1, 3, DIM)
    batch = ItemBatch(ids, vectors, [b'{"n": 1}', b"", b"{}"])
    request = SearchRequest("things", vectors, 3, filter=FILTER, score_threshold=0.5)
    scores = np.ones((1, 3), np.float32)
    hits = Hits(ids.reshape(1, 3), scores, np.array([3]), Coverage(1, 1, 3, 3), {})
    response = items_pb2.GetItemsResponse()
    codec.fill_items(response, Items(ids, vectors, batch.payload_blobs, ids[:0]))
    sound: list[bytes] = [
        codec.to_upsert("things", batch).SerializeToString(),
        codec.to_search(request).SerializeToString(),
        codec.to_spec(SPEC).SerializeToString(),
        to_filter(FILTER).SerializeToString(),
        response.SerializeToString(),
        codec.to_hits(hits).SerializeToString(),
        codec.to_info(CollectionInfo(SPEC, 1, 2, 3, 4)).SerializeToString(),
        to_token("item-1"),
        to_token(7),
    ]

    def decode(data: bytes) -> None:
        if data:
            MESSAGES[data[0] % len(MESSAGES)](data[1:])

    return Target([bytes([which]) + data for which, data in enumerate(sound)], decode)


# --- files --------------------------------------------------------------------------------------

_PREFIX = struct.Struct("<8sIII")


def segments() -> Target:
    """Open segment files in the kernel, and search them; their checksums are made right.

    The byte in front says of which type the ids of the collection are.
    """
    folder = Path(tempfile.mkdtemp())
    path = folder / "1.seg"
    seeds: list[bytes] = []
    for id_type in IdType:
        spec = spec_of(DIM, id_type=id_type)
        block = block_of(ids_of(range(20), id_type), floats(1, 20, DIM))
        write_segment(path, spec, content_of(spec, block))
        seeds.append(bytes([len(seeds)]) + path.read_bytes())

    def decode(data: bytes) -> None:
        id_type = list(IdType)[data[0] % 2 if data else 0]
        data, crc = with_right_checksums(data[1:])
        path.write_bytes(data)
        spec = spec_of(DIM, id_type=id_type)
        segment = Segment(path, spec, crc, keep_vectors=True)
        searched(segment, floats(2, 2, DIM), 5, 20)
        segment.lookup.rows_of(ids_of(range(3), id_type))

    return Target(seeds, decode)


def with_right_checksums(data: bytes) -> tuple[bytes, int]:
    """Make the checksums of a segment file fit what it holds, as far as it can be read."""
    try:
        magic, version, length, _ = _PREFIX.unpack_from(data)
        header = json.loads(data[_PREFIX.size : _PREFIX.size + length])
        for part in header["parts"]:
            part["crc32"] = crc32(data[part["offset"] : part["offset"] + part["bytes"]])
        text = json.dumps(header).encode().ljust(length)
        head = _PREFIX.pack(magic, version, len(text), crc32(text)) + text
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error):
        return data, crc32(data[_PREFIX.size :])
    return head + data[len(head) :], crc32(text)


def items() -> Target:
    """Open an items.db, and read all of it; the byte in front says the type of its ids."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "items.db"
    seeds: list[bytes] = []
    for id_type in IdType:
        with closing(Store(path, DIM, id_type, create=True)) as store:
            ids = ids_of(range(40), id_type)
            store.write([Change(ids, 1, floats(1, 40, DIM), [b'{"n": 1}'] * 40)])
            store.write([Change(ids[:5], 41)])
        seeds.append(bytes([len(seeds)]) + path.read_bytes())
        path.unlink()

    def decode(data: bytes) -> None:
        for file in folder.iterdir():
            file.unlink()
        path.write_bytes(data[1:])
        id_type = list(IdType)[data[0] % 2 if data else 0]
        with closing(Store(path, DIM, id_type, create=False)) as store:
            store.segments()
            store.log_after(0)
            store.get(ids_of(range(40), id_type))
            store.page(None, 100)

    return Target(seeds, decode)


def logs() -> Target:
    """Judge write-ahead logs and their indexes; the byte in front says which one it is."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "items.db"
    files = {name: folder / f"items.db{name}" for name in ("-wal", "-shm")}
    with closing(Store(path, DIM, IdType.INT64, create=True)) as store:
        store.write([Change(np.arange(9), 1, floats(1, 9, DIM))])
        sound = {name: file.read_bytes() for name, file in files.items()}
        sound["-shm"] = sound["-shm"][:200]  # what it says of pages is not read
        database = path.read_bytes()
    path.write_bytes(database)

    def decode(data: bytes) -> None:
        for name, file in files.items():
            file.write_bytes(sound[name])
        if data:
            files["-shm" if data[0] % 2 else "-wal"].write_bytes(data[1:])
        log_check.check(path)

    return Target([b"\0" + sound["-wal"], b"\1" + sound["-shm"]], decode)


CONFIG = b"""\
cluster: c
shard: {index: 1, count: 3}
listen: {host: 127.0.0.1, port: 7701, drain_s: 3.5}
data: ./data
limits:
  k: 100
log: {level: info}
"""


def configs() -> Target:
    """Load configurations of a server."""
    path = Path(tempfile.mkdtemp()) / "config.yaml"

    def decode(data: bytes) -> None:
        override, _, text = data.partition(b"\n")
        path.write_bytes(text)
        load(ServerConfig, path, [override.decode("utf-8", "replace")])

    return Target([b"listen.port=1\n" + CONFIG], decode)


TARGETS: dict[str, Callable[[], Target]] = {
    "messages": messages,
    "segments": segments,
    "items": items,
    "logs": logs,
    "configs": configs,
}

# --- mutation -----------------------------------------------------------------------------------

_NUMBERS = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def mutated(choice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Take a sound input apart in one to three places."""
    data = bytearray(choice.choice(seeds))
    for _ in range(choice.randint(1, 3)):
        at = choice.randrange(len(data) + 1)
        if choice.random() < 0.5:  # most of what decides stands at the start
            at = choice.randrange(min(1_200, len(data)) + 1)
        size = choice.choice([1, 1, 2, 4, 8, 40])
        kind = choice.choice([0, 0, 0, 1, 1, 1, 2, 3, 4, 5])
        if kind == 0 and at < len(data):
            data[at] ^= 1 << choice.randrange(8)
        elif kind == 1:
            width = choice.choice([1, 2, 4, 8])
            number = choice.choice(_NUMBERS) % (1 << 8 * width)
            data[at : at + width] = number.to_bytes(width, choice.choice(["little", "big"]))
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = choice.randbytes(size)
        elif kind == 4:
            other = choice.choice(seeds)
            start = choice.randrange(len(other))
            data[at : at + size] = other[start : start + size]
        else:
            data[at : at + size] = data[at : at + size] * 2
    return bytes(data)


def only_ours(target: Target, data: bytes) -> bool:
    """Decode; tell whether that was refused. Anything but our own errors goes on.

    A segment of an older format is no error: whoever opens it builds it again.
    """
    try:
        target.decode(data)
    except (FanlightError, DecodeError, OutdatedSegment):
        return True
    return False


def mutate(name: str, seed: int, until: float, most: int, progress: int) -> dict[str, Any]:
    """Decode mutated inputs until a moment of the wall clock, at the most so many."""
    target = TARGETS[name]()
    for data in target.seeds:
        target.decode(data)
    n = refused = 0
    faults: list[str] = []
    while n < most and (time.time() < until or not n):
        os.pwrite(progress, b"%20d" % n, 0)
        signal.alarm(HANG_S)
        try:
            refused += only_ours(target, mutated(random.Random(f"{seed} {n}"), target.seeds))
        except Exception as error:
            faults.append(f"{name} {n}: {type(error).__name__}: {error}")
        n += 1
    signal.alarm(0)
    return {"trials": n, "refused": refused, "faults": faults}


def fuzz(name: str, seed: int, until: float, folder: Path) -> None:
    """Let libFuzzer choose the inputs; does not return: it ends the process."""
    import atheris

    target = TARGETS[name]()
    for number, data in enumerate(target.seeds):
        (folder / f"seed-{number}").write_bytes(data)
    seconds = max(1, int(until - time.time()))
    options = [f"-max_total_time={seconds}", f"-seed={seed % 2**32 or 1}", f"-timeout={HANG_S}"]

    def decode(data: bytes) -> None:
        only_ours(target, data)

    atheris.Setup(
        ["fuzz", *options, f"-artifact_prefix={folder}/", "-max_len=200000", str(folder)], decode
    )
    atheris.Fuzz()


# --- the run ------------------------------------------------------------------------------------


# What libFuzzer shall see the inside of has to be imported under its eyes.
_INSTRUMENTED = """
import sys, atheris
with atheris.instrument_imports(include=["fanlight", "fanlight_server"]):
    from tests.faults import decoders
decoders.main(sys.argv[1:])
"""


def child(
    name: str, seed: int, seconds: float, most: int, *, atheris: bool = False
) -> dict[str, Any]:
    """Run one target in a process of its own; a crash or a hang is a fault."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [name, str(seed), str(time.time() + seconds), str(most), folder]
        program = ["-c", _INSTRUMENTED] if atheris else ["-m", "tests.faults.decoders"]
        done = subprocess.run(
            [sys.executable, *program, *arguments, *["atheris"] * atheris],
            capture_output=True,
            text=True,
            errors="replace",
            cwd=Path(__file__).parents[2],
            env=os.environ | {"TMPDIR": folder},
            check=False,
        )
        if atheris:
            return _fuzzed(name, done)
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return found
        at = (Path(folder) / "progress").read_text().strip() or "the start"
    fault = f"{name} {at}: ended with {done.returncode}: {done.stderr[-300:]}"
    return {"trials": 1, "refused": 0, "faults": [], "crash": fault}


def _fuzzed(name: str, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    counts = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("Done ")]
    found: dict[str, Any] = {"trials": int(counts[-1]) if counts else 1, "refused": 0, "faults": []}
    if done.returncode:  # the exception is on stdout, the input on stderr
        found["crash"] = f"{name}: {done.stdout[-1_500:]} {done.stderr[-1_500:]}"
    return found


def run(seconds: float, seed: int, most: int = 10**9, *, atheris: bool = False) -> Outcome:
    """Decode nonsense for so many seconds, all targets after each other."""
    found = {
        name: child(name, seed, seconds / len(TARGETS), most, atheris=atheris) for name in TARGETS
    }
    faults = [fault for each in found.values() for fault in each["faults"]]
    crashes = [each["crash"] for each in found.values() if "crash" in each]
    notes = ", ".join(f"{n} {e['trials']} ({e['refused']} refused)" for n, e in found.items())
    return Outcome(
        fault="nonsense in decoders",
        trials=sum(each["trials"] for each in found.values()),
        wrong=len(faults),
        crashes=len(crashes),
        control="sound inputs are accepted; a decoder that raises another error is seen",
        notes=f"seed {seed}; {notes}" + "".join(f"\n  {line}" for line in (faults + crashes)[:20]),
    )


def main(arguments: Sequence[str]) -> None:
    """Run one target: the child's part."""
    name, seed, until, most, folder, *how = arguments
    if how:
        fuzz(name, int(seed), float(until), Path(folder))
    progress = os.open(Path(folder) / "progress", os.O_CREAT | os.O_RDWR)
    found = mutate(name, int(seed), float(until), int(most), progress)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 3:
        main(sys.argv[1:])
    else:
        outcome = run(float(sys.argv[1]), int(sys.argv[2]), atheris=True)
        sys.stdout.write(f"{outcome}\n")
        sys.exit(1 if outcome.failures else 0)
