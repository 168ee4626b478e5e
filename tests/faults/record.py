"""What was acknowledged of each item, and what a scan of the collection may therefore show.

Laws: an id has one writer. An item's vector and payload follow from its id and version, so a
vector of another item, of another version or of no item at all is recognised. After a write
that was not acknowledged both states are right, the one before it and the one that it would have
made, until a scan shows which: what was seen once must stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fanlight.model import Floats, Items, Rows

DIM = 16
# The first element tells the version: a power of two, so exactly; small, so that it hardly
# changes which items are near each other.
VERSION_STEP = 2.0**-14
_NONE = -1
_EXAMPLES = 5


def vectors_of(ids: Rows, versions: Rows) -> Floats:
    """Derive vectors, (n, DIM) float32, from ids and versions, each (n,) int64."""
    seeds = ids.astype(np.uint64) * np.uint64(1_000_003) + versions.astype(np.uint64)
    columns = np.arange(DIM, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = _mix(seeds[:, None] * np.uint64(0xD1342543DE82EF95) + columns)
    vectors = ((mixed >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23)) - np.float32(1)
    vectors[:, 0] = versions * VERSION_STEP
    return vectors


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def payloads_of(versions: Rows) -> list[dict[str, int]]:
    """Derive payloads from versions."""
    return [{"version": version} for version in versions.tolist()]


@dataclass
class Faults:
    """What was found that must not be, and some examples of it."""

    lost: int = 0
    stale: int = 0
    phantom: int = 0
    duplicate: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, ids: Iterable[object], why: str) -> None:
        """Count one fault for each of the ids."""
        named = list(ids)
        if named:
            setattr(self, kind, getattr(self, kind) + len(named))
            if len(self.examples) < _EXAMPLES:
                self.examples.append(f"{kind}: {why}: ids {named[:_EXAMPLES]}")

    @property
    def total(self) -> int:
        """Count all of them."""
        return self.lost + self.stale + self.phantom + self.duplicate + self.wrong


@dataclass(frozen=True, slots=True)
class Scan:
    """All items that a collection showed.

    Attributes:
        ids: (n,) int64, in the order shown.
        vectors: (n, DIM) float32.
        versions: (n,) int64, as the payloads say.
    """

    ids: Rows
    vectors: Floats
    versions: Rows

    @classmethod
    def of(cls, pages: Iterable[Items]) -> Scan:
        """Read the pages of a scroll."""
        ids, vectors = [np.empty(0, np.int64)], [np.empty((0, DIM), np.float32)]
        versions: list[int] = []
        for page in pages:
            assert page.vectors is not None
            assert page.payloads is not None
            ids.append(page.ids.astype(np.int64))
            vectors.append(page.vectors)
            versions += [(payload or {}).get("version", _NONE) for payload in page.payloads]
        return cls(np.concatenate(ids), np.concatenate(vectors), np.array(versions, np.int64))


class Record:
    """The record of the ids 0 to n - 1. Each writer thread touches only ids of its own."""

    def __init__(self, n: int) -> None:
        self.next_version = np.ones(n, np.int64)
        # version 0: never written
        self._version = np.zeros(n, np.int64)
        self._alive = np.zeros(n, np.bool_)
        self._maybe = np.full(n, _NONE, np.int64)
        self._maybe_alive = np.zeros(n, np.bool_)

    def begin(self, ids: Rows) -> Rows:
        """Number the next state of each id."""
        versions = self.next_version[ids]
        self.next_version[ids] += 1
        return versions

    def acknowledge(self, ids: Rows, versions: Rows, *, alive: bool) -> None:
        """Record that a write (or with alive=False a deletion) was acknowledged."""
        self._version[ids], self._alive[ids] = versions, alive
        self._maybe[ids] = _NONE

    def doubt(self, ids: Rows, versions: Rows, *, alive: bool) -> None:
        """Record that nobody knows whether a write has happened."""
        self._maybe[ids], self._maybe_alive[ids] = versions, alive

    def alive(self) -> Rows:
        """List the ids that are certainly there."""
        return np.flatnonzero(self._alive & (self._maybe == _NONE))

    def compare(self, scan: Scan, faults: Faults) -> None:
        """Count what a scan shows that it must not, and what it lacks.

        What it shows is what is known from then on, so that nothing is counted twice.
        """
        ids, first = np.unique(scan.ids, return_index=True)
        repeated = np.setdiff1d(np.arange(len(scan.ids)), first)
        faults.add("duplicate", scan.ids[repeated].tolist(), "twice in a scan")
        known = (ids >= 0) & (ids < len(self._version))
        faults.add("phantom", ids[~known].tolist(), "nobody wrote it")
        ids, first = ids[known], first[known]
        versions, vectors = scan.versions[first], scan.vectors[first]
        right = (vectors == vectors_of(ids, versions)).all(axis=1)
        faults.add("wrong", ids[~right].tolist(), "vector and payload are not of one write")
        self._compare_present(ids[right], versions[right], faults)
        absent = np.ones(len(self._version), np.bool_)
        absent[ids] = False
        may_be_absent = ~self._alive | ((self._maybe != _NONE) & ~self._maybe_alive)
        lost = np.flatnonzero(absent & ~may_be_absent)
        faults.add("lost", lost.tolist(), "acknowledged and gone")
        self._alive[:] = ~absent
        self._version[ids] = versions
        self._maybe[:] = _NONE

    def _compare_present(self, ids: Rows, versions: Rows, faults: Faults) -> None:
        as_known = self._alive[ids] & (versions == self._version[ids])
        as_doubted = self._maybe_alive[ids] & (versions == self._maybe[ids])
        bad = ~(as_known | as_doubted)
        buried = bad & ~self._alive[ids]
        stale = bad & ~buried & (versions < self._version[ids])
        faults.add("phantom", ids[buried].tolist(), "deleted, or never acknowledged, and there")
        faults.add("stale", ids[stale].tolist(), "in a state before the acknowledged one")
        others = bad & ~buried & ~stale
        faults.add("phantom", ids[others].tolist(), "in a state that nobody wrote")
