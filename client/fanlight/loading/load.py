"""Rows of a file into a collection: inspected, written, quarantined, accounted for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from fanlight.client import Collection
from fanlight.errors import InvalidRequest, RowError
from fanlight.loading.checkpoint import Checkpoint
from fanlight.loading.hygiene import SAMPLE_ROWS, Inspector
from fanlight.loading.quarantine import Quarantine
from fanlight.loading.rows import Batch, Fault, Kind, Source


@dataclass(slots=True)
class Tally:
    """What became of the rows so far.

    Attributes:
        seen: rows read, those skipped too.
        skipped: rows that an earlier load had done.
        written: rows now stored.
        superseded: rows left out because a later row of their batch has the same id.
        faults: the first rows that were not loaded, some of them.
        counts: what was found, by kind; kept outliers and duplicates too.
        quarantined: rows that were not loaded.
        seconds: since the beginning.
    """

    seen: int = 0
    skipped: int = 0
    written: int = 0
    superseded: int = 0
    faults: list[Fault] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    quarantined: int = 0
    seconds: float = 0.0


_FAULTS_KEPT = 10


class Load:
    """One file on its way into one collection. Not thread-safe.

    Attributes:
        tally: what became of the rows so far.
    """

    def __init__(
        self,
        collection: Collection,
        inspector: Inspector,
        quarantine: Quarantine,
        checkpoint: Checkpoint,
        skip: int = 0,
    ) -> None:
        """Prepare to load.

        Args:
            collection: where to.
            inspector: judges the rows before they are sent.
            quarantine: gets those that are not loaded.
            checkpoint: says after each batch how far it came.
            skip: rows of the beginning that are done; they are inspected, since later ones may
                repeat them, and not sent.
        """
        self.tally = Tally(quarantined=quarantine.rows)
        self._collection = collection
        self._inspector = inspector
        self._quarantine = quarantine
        self._checkpoint = checkpoint
        self._skip = skip

    def run(self, source: Source, progress: Callable[[Tally], object]) -> Tally:
        """Load all rows; `progress` is called after each batch.

        Raises:
            FanlightError: the cluster cannot take more for now, or the file is damaged further
                on. What was written stays; the checkpoint says how far that is.
        """
        begun = time.monotonic()
        for batch in source.batches:
            self._take(self._inspector.inspect(batch), batch.end)
            self.tally.seconds = time.monotonic() - begun
            self.tally.counts = self._inspector.counts
            progress(self.tally)
        self._checkpoint.clear()
        return self.tally

    def _take(self, batch: Batch, end: int) -> None:
        self.tally.seen = end
        if end <= self._skip:
            self.tally.skipped = end
            return
        refused = self._write(batch) if len(batch.rows) else []
        faults = [fault for fault in (*batch.faults, *refused) if fault.row >= self._skip]
        self._quarantine.add(faults)
        self.tally.quarantined += len(faults)
        self.tally.faults += faults[: _FAULTS_KEPT - len(self.tally.faults)]
        self._checkpoint.advance(end)

    def _write(self, batch: Batch) -> list[Fault]:
        """Write a batch; what a row is refused for, here or by the server, stops no other."""
        try:
            result = self._collection.upsert(
                batch.ids, batch.vectors, batch.payloads, errors="return", progress=False
            )
        except InvalidRequest as error:
            if not error.rows or error.result is not None:
                raise
            return self._without(batch, error.rows)
        self.tally.written += result.written
        self.tally.superseded += len(result.superseded_rows)
        return self._refused(batch, result.errors)

    def _without(self, batch: Batch, errors: tuple[RowError, ...]) -> list[Fault]:
        """Write what is left of a batch without the rows that could not be sent."""
        kept = np.ones(len(batch.rows), dtype=np.bool_)
        kept[[error.row for error in errors]] = False
        refused = self._refused(batch, errors)
        return refused + (self._write(batch.take(kept)) if kept.any() else [])

    def _refused(self, batch: Batch, errors: tuple[RowError, ...]) -> list[Fault]:
        self._inspector.counts[Kind.REFUSED] += len(errors)
        return [
            Fault(int(batch.rows[e.row]), Kind.REFUSED, e.error, batch.content(e.row))
            for e in errors
        ]


def read_ahead(source: Source, rows: int = SAMPLE_ROWS) -> tuple[list[Batch], Source]:
    """Read the batches of the first `rows` rows, and give a source that begins with them again."""
    read: list[Batch] = []
    batches: Iterator[Batch] = source.batches
    while sum(batch.seen for batch in read) < rows:
        batch = next(batches, None)
        if batch is None:
            break
        read.append(batch)
    return read, Source(source.total, chain(read, batches))
