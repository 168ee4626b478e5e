"""Whether rows are good embeddings: finite, not zero, of a usual length, not there twice.

A bad row of a file is common: a crashed trainer writes NaN, an unknown word gets zeros, a missed
scaling makes a vector a thousand times too long, a join repeats rows. Each is left out, with its
reason, and the others are loaded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InvalidRequest
from fanlight.loading.rows import Array, Batch, Fault, Kind, Mask
from fanlight.model import Metric
from fanlight.vectors import lengths_of

# Rows from whose lengths it is told what length is usual.
SAMPLE_ROWS = 10_000
# A length this many times the median, or the median that many times it, is an outlier...
OUTLIER_FACTOR = 10.0
# ... unless lengths differ that much anyway: so many robust standard deviations of the logarithms.
_OUTLIER_SIGMAS = 8.0
# A median absolute deviation times this is the standard deviation of a normal distribution.
_SIGMA_OF_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class UsualLength:
    """What lengths are usual in a file.

    Attributes:
        least: shorter vectors are outliers.
        most: longer ones too.
    """

    least: float
    most: float

    @classmethod
    def of(cls, vectors: Iterable[Array], factor: float = OUTLIER_FACTOR) -> UsualLength:
        """Tell from the finite rows of a sample that are not zero; without any, all is usual.

        Median and median absolute deviation of the logarithms: up to half of the sample may be
        bad without moving them much (Rousseeuw and Croux 1993).
        """
        measured = [_lengths(matrix) for matrix in vectors]
        lengths = np.concatenate(measured) if measured else np.empty(0)
        logs = np.log(lengths[np.isfinite(lengths) & (lengths > 0)])
        if not len(logs):
            return cls(0.0, np.inf)
        centre = float(np.median(logs))
        sigma = _SIGMA_OF_MAD * float(np.median(np.abs(logs - centre)))
        reach = max(np.log(factor), _OUTLIER_SIGMAS * sigma)
        return cls(float(np.exp(centre - reach)), float(np.exp(centre + reach)))


@dataclass(slots=True)
class Inspector:
    """Judges the rows of a file, batch after batch, in the file's order.

    Attributes:
        metric: a zero vector is bad under cosine only.
        usual: lengths that are usual.
        keep: what is loaded all the same: of `Kind.OUTLIER` and `Kind.DUPLICATE`.
        counts: how many rows of each kind were found so far, kept ones too.
    """

    metric: Metric
    usual: UsualLength
    keep: frozenset[Kind] = frozenset()
    counts: Counter[Kind] = field(default_factory=Counter)
    # The row that first had a vector, by a digest of it: 128 bits, so that two vectors of a
    # billion share one with a probability of 10^-21.
    _first: dict[bytes, int] = field(default_factory=dict)

    def inspect(self, batch: Batch) -> Batch:
        """Move the bad rows of a batch to its faults."""
        vectors = np.asarray(batch.vectors, dtype=np.float32)
        lengths = _lengths(vectors)
        good = np.ones(len(vectors), dtype=np.bool_)
        faults: list[Fault] = []
        for kind, bad, expected, got in self._judgements(vectors, lengths):
            found = np.flatnonzero(good & bad).tolist()
            self.counts[kind] += len(found)
            if kind in self.keep:
                continue
            good[found] = False
            faults += [_fault(batch, i, kind, expected, got(i)) for i in found]
        faults += self._duplicates(batch, vectors, good)
        self.counts.update(fault.kind for fault in batch.faults)
        merged = sorted((*batch.faults, *faults), key=lambda fault: fault.row)
        kept = batch.take(good)
        return Batch(kept.ids, kept.vectors, kept.payloads, kept.rows, tuple(merged))

    def _judgements(self, vectors: Array, lengths: NDArray[np.float64]) -> Iterable[Any]:
        def infinite(i: int) -> str:
            place = int(np.flatnonzero(~np.isfinite(vectors[i]))[0])
            return f"{vectors[i, place]} at element {place}"

        def length(i: int) -> str:
            return f"length {lengths[i]:.6g}"

        usual = f"a length of {self.usual.least:.3g} to {self.usual.most:.3g}"
        odd = (lengths < self.usual.least) | (lengths > self.usual.most)
        yield Kind.NON_FINITE, ~np.isfinite(vectors).all(axis=1), "finite numbers", infinite
        if self.metric is Metric.COSINE:
            yield Kind.ZERO, lengths == 0, "a direction", lambda _: "a zero vector"
        yield Kind.OUTLIER, odd & (lengths > 0), usual, length

    def _duplicates(self, batch: Batch, vectors: Array, good: Mask) -> list[Fault]:
        """Find rows whose vector an earlier row has, and clear them in `good`."""
        faults = []
        for i in np.flatnonzero(good).tolist():
            row = int(batch.rows[i])
            digest = hashlib.blake2b(vectors[i].tobytes(), digest_size=16).digest()
            first = self._first.setdefault(digest, row)
            if first == row:
                continue
            self.counts[Kind.DUPLICATE] += 1
            if Kind.DUPLICATE not in self.keep:
                good[i] = False
                expected, got = "a vector of its own", f"that of row {first}"
                faults.append(_fault(batch, i, Kind.DUPLICATE, expected, got))
        return faults


def _lengths(vectors: Array) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        return lengths_of(np.asarray(vectors, dtype=np.float32))


def _fault(batch: Batch, place: int, kind: Kind, expected: str, got: str) -> Fault:
    error = InvalidRequest.of_field("vector", expected, got)
    return Fault(int(batch.rows[place]), kind, error, batch.content(place))
