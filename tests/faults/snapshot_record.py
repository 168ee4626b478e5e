"""What was written, so that a snapshot taken meanwhile can be judged.

The vector and the payload of an item follow from its id and its version, so whatever comes back
tells which write it is of, and whether a single bit of it differs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

import fanlight
from fanlight.errors import FanlightError
from fanlight.model import Floats, Rows

DIM = 192


def vectors_of(ids: Rows, versions: Rows) -> Floats:
    """Give the vectors of items: (n, DIM) float32, every bit decided by id and version."""
    seeds = ids.astype(np.uint64) * np.uint64(1_000_003) + versions.astype(np.uint64)
    steps = np.arange(1, DIM + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (seeds[:, None] + np.uint64(1)) * steps
    return ((mixed >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23)) - np.float32(1)


def payloads_of(ids: Rows, versions: Rows) -> list[dict[str, int]]:
    """Give their payloads."""
    pairs = zip(ids.tolist(), versions.tolist(), strict=True)
    return [{"id": id_, "version": version} for id_, version in pairs]


@dataclass(slots=True)
class Verdict:
    """What is wrong with what was found."""

    lost: int = 0
    stale: int = 0
    phantom: int = 0
    duplicate: int = 0
    wrong: int = 0

    @property
    def total(self) -> int:
        """Count everything."""
        return self.lost + self.stale + self.phantom + self.duplicate + self.wrong


@dataclass(slots=True)
class Record:
    """Versions of ids 0 to n - 1: which were begun, and which acknowledged (0: never)."""

    n: int
    begun: Rows = field(init=False)
    acknowledged: Rows = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self.begun = np.zeros(self.n, np.int64)
        self.acknowledged = np.zeros(self.n, np.int64)

    def judge(self, before: Rows, found: Iterable[fanlight.Items], verdict: Verdict) -> None:
        """Compare all items of a snapshot with what was written.

        Args:
            before: what was acknowledged before the snapshot began.
            found: its items.
            verdict: is told.
        """
        seen = np.zeros(self.n, np.int64)
        for items in found:
            self._judge_items(before, items, seen, verdict)
        verdict.lost += int(((before > 0) & (seen == 0)).sum())
        verdict.duplicate += int((seen > 1).sum())

    def _judge_items(
        self, before: Rows, items: fanlight.Items, seen: Rows, verdict: Verdict
    ) -> None:
        ids = items.ids.astype(np.int64)
        known = (ids >= 0) & (ids < self.n)
        verdict.phantom += int((~known).sum())
        payloads = items.payloads or []
        versions = np.array([int((p or {}).get("version", -1)) for p in payloads], np.int64)
        np.add.at(seen, ids[known], 1)
        ids, versions = ids[known], versions[known]
        verdict.stale += int((versions < before[ids]).sum())
        verdict.phantom += int((versions > self.begun[ids]).sum())
        assert items.vectors is not None
        expected = vectors_of(ids, versions)
        same = (items.vectors[known].view(np.uint32) == expected.view(np.uint32)).all(axis=1)
        told = payloads_of(ids, versions)
        kept = [p for p, k in zip(payloads, known.tolist(), strict=True) if k]
        verdict.wrong += sum(
            not (s and a == b) for s, a, b in zip(same.tolist(), kept, told, strict=True)
        )


class Writer:
    """Writes new versions of random ids until it is stopped; whatever fails is not acknowledged."""

    def __init__(self, address: str, collection: str, record: Record, seed: int) -> None:
        self._address, self._collection, self._record = address, collection, record
        self._random = np.random.default_rng(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.batches = 0

    def __enter__(self) -> Writer:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with fanlight.Client(self._address, timeout=5.0) as client:
            collection = client.collection(self._collection)
            while not self._stopped.is_set():
                ids = self._random.choice(self._record.n, 100, replace=False)
                with suppress(FanlightError):
                    write(collection, self._record, ids)
                self.batches += 1


def write(collection: fanlight.Collection, record: Record, ids: Rows) -> None:
    """Write the next version of ids, and record it."""
    record.begun[ids] += 1
    versions = record.begun[ids].copy()
    collection.upsert(ids, vectors_of(ids, versions), payloads_of(ids, versions), progress=False)
    record.acknowledged[ids] = versions
