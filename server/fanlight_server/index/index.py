"""The index of one collection on one shard: takes changes, shows views, builds segments.

Laws: readers take `view` once and never wait. One thread (the collection's writer) applies
changes, one (the shard's builder) builds; `_lock` keeps their publications apart and is held
only for as long as arrays are swapped. Nothing here is the truth: the store is.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, Floats, IdColumn, Rows
from fanlight_server.index import cells, graph, segment_file
from fanlight_server.index.bits import Bitmap
from fanlight_server.index.block import DEAD_SEQ, Gathering
from fanlight_server.index.effort import Effort
from fanlight_server.index.field_builds import ReadValues, with_fields
from fanlight_server.index.head import Head
from fanlight_server.index.policy import SegmentSize, choose
from fanlight_server.index.segment import Segment
from fanlight_server.index.settings import IndexConfig
from fanlight_server.index.view import Part, View
from fanlight_server.storage.filesystem import LOCAL_FILES, FileSystem

_HEAD_ROWS_MIN = 64
# So long after the last search the next ones are not expected any more.
_SEARCHED_S = 10.0
# Between two looks of a writer that waits.
_LOOK_S = 0.25
# How long writes wait for each second that the last build waited for a core. With 3 a p99 was 33 ms
# where with 1 it was 49, and 2,800 rows a second were written rather than 3,700 (100,000 x 128,
# 5,200 queries/s on 2 cores, medians of 5).
_WAIT_FOR_WAIT = 3.0
# So many times the rows that may wait while searches come: they came when nobody searched. Left to
# what searches leave, 8,192 rows of 128 dimensions waited for ever, since scanning them took it all.
_BEHIND = 2
# What may be copied to merge small segments into large ones, for each idle check (2 s) that has
# passed: 1 GiB waits for half a minute without a write. It bounds how often the same is copied.
_REST_BYTES = 64 << 20
# Bytes of a row in a segment file: vector, code, and about this for its links and numbers.
_LINKS_BYTES = 320
# Idle checks after which a head of few rows is sealed too: merged, it costs searches nothing.
_LONG_REST = 3


@dataclass(frozen=True, slots=True)
class Build:
    """A segment to be built.

    Attributes:
        sources: the parts it replaces, as they were when the build was planned.
        kept: for each source the rows that go in, (rows,) bool.
        base: segment whose graph is extended: the first source; None to start afresh.
        seq: every live item with a seq up to this is in a segment once this one is published.
        filterable: the fields that its rows get columns of.
    """

    sources: tuple[Part, ...]
    kept: tuple[Bitmap, ...]
    base: Segment | None
    seq: int
    filterable: Mapping[str, FieldType]


@dataclass(frozen=True, slots=True)
class Built:
    """A segment that is on disk and opened.

    Attributes:
        build: what it was built from.
        segment: the segment; None when no row of the sources was live.
        origin: (rows,) int64: for each of its rows, the row in the sources' concatenation.
    """

    build: Build
    segment: Segment | None
    origin: Rows


class Index:
    """See the module."""

    def __init__(
        self,
        spec: CollectionSpec,
        config: IndexConfig,
        now: Callable[[], float] = time.monotonic,
        fields_version: int = 0,
    ) -> None:
        """Make an empty index.

        Args:
            spec: of the collection.
            config: sizes and times.
            now: a clock in seconds.
            fields_version: of the declaration of the fields of `spec`.
        """
        # replaced whole, by `declare` alone
        self.spec = spec
        # constant after construction
        self._config = config
        self._now = now
        self._row_bytes = 4 * spec.dim
        self._head_rows = max(_HEAD_ROWS_MIN, config.head_bytes // self._row_bytes)
        self._rows_unsearched_max = self._rows_of(config.unindexed_bytes)
        self._rows_searched_max = min(
            self._rows_unsearched_max, self._rows_of(config.unindexed_bytes_searched)
        )
        # set by searches, read by the writer: when the last one came
        self._last_search = -math.inf
        # set by the builder, read by the writer: no write is taken before, if searches come
        self._writes_wait_until = -math.inf
        # counted by the builder: idle checks since the last change
        self._rests = 0
        self._seq_at_rest = -1
        # held from the moment that changes are in the store until they are in the view, while a
        # segment is published, and while fields are declared. So where a build found the payload
        # of a row gone from the store, the row is dead when the segment is shown.
        self.changing = threading.Lock()
        # guards the head and the publication of views
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._head = self._new_head()
        parts = (Part(self._head, self._head.block()),)
        self._view = View(parts, spec.id_type, 0, spec.filterable, fields_version, spec.ef_search)

    def _rows_of(self, unindexed_bytes: int) -> int:
        return max(2 * self._head_rows, unindexed_bytes // self._row_bytes)

    def _new_head(self) -> Head:
        return Head(self._head_rows, self.spec)

    @property
    def view(self) -> View:
        """Show the state as of now; it never changes."""
        return self._view

    @property
    def segment_row_bytes(self) -> int:
        """Tell about how many bytes a row takes in a segment file."""
        return 5 * self.spec.dim + _LINKS_BYTES

    def note_search(self) -> None:
        """Remember that a search came: writes give way to them, see `wait_for_room`."""
        self._last_search = self._now()

    def declare(
        self,
        filterable: Mapping[str, FieldType],
        fields_version: int,
        ef_search: int | None = None,
    ) -> None:
        """Change the filterable fields of all rows to come, and the default of searches.

        `changing` must be held.

        The head is sealed, since its rows have no columns of new fields, and those to come have
        no values of dropped ones.
        """
        with self._lock:
            view = replace(self._view, fields_version=fields_version, ef_search=ef_search)
            if filterable != view.filterable:
                self.spec = replace(self.spec, filterable=filterable)
                self._head = self._new_head()
                kept = view.parts if len(view.parts[-1].block) else view.parts[:-1]
                parts = (*kept, Part(self._head, self._head.block()))
                view = replace(view, parts=parts, filterable=filterable)
            self._view = view

    # --- changes: the writer's thread ---------------------------------------------------------

    def upsert(
        self,
        ids: IdColumn,
        first_seq: int,
        vectors: Floats,
        fields: Sequence[FieldValues] = (),
    ) -> None:
        """Make rows visible; the items that had these ids are dead at the same moment.

        Args:
            ids: (n,) ids, each once.
            first_seq: seq of the first row; the next ones follow.
            vectors: (n, dim) float32.
            fields: values of the filterable fields, one mapping a row; empty when there are none.
        """
        with self._lock:
            view, _ = self._view.without(ids)
            seqs = np.arange(first_seq, first_seq + len(ids), dtype=np.int64)
            self._view = self._appended(view, ids, seqs, vectors, fields)

    def delete(self, ids: IdColumn, first_seq: int) -> int:
        """Make items invisible; tell how many there were."""
        with self._lock:
            view, killed = self._view.without(ids)
            self._view = replace(view, seq=first_seq + len(ids) - 1)
        return killed

    def restore(self, segments: list[tuple[Segment, Rows]], seq: int) -> None:
        """Start from segments read from disk, each with its dead rows (recovery)."""
        with self._lock:
            parts = [Part(segment, segment.block) for segment, _ in segments]
            marked = [
                part.without(dead) if len(dead) else part
                for part, (_, dead) in zip(parts, segments, strict=True)
            ]
            self._view = replace(self._view, parts=(*marked, *self._view.parts), seq=seq)

    def append(
        self, ids: IdColumn, seqs: Rows, vectors: Floats, fields: Sequence[FieldValues] = ()
    ) -> None:
        """Add rows whose ids are not in the index (recovery)."""
        with self._lock:
            seq = self._view.seq
            appended = self._appended(self._view, ids, seqs, vectors, fields)
            self._view = replace(appended, seq=seq)

    def _appended(
        self,
        view: View,
        ids: IdColumn,
        seqs: Rows,
        vectors: Floats,
        fields: Sequence[FieldValues],
    ) -> View:
        """Append rows to the head; a head that is full is sealed and a new one follows."""
        parts, at = list(view.parts), 0
        while at < len(ids):
            if not self._head.room:
                self._head = self._new_head()
                parts.append(Part(self._head, self._head.block()))
            rows = slice(at, at + self._head.room)
            self._head.append(ids[rows], seqs[rows], vectors[rows], fields[rows])
            parts[-1] = parts[-1].grown(self._head.block())
            at = rows.stop
        return replace(view, parts=tuple(parts), seq=int(seqs[-1]))

    def wait_for_room(self, stopped: Callable[[], bool]) -> int:
        """Wait until the rows without a graph are few enough to take more, or until stopped.

        Far fewer may wait while searches come, since each of them scans all of these rows. And for
        three times as long as the last build had to wait for cores, which searches took, they are
        left to them now.

        Returns:
            Bytes of vectors that there is room for.
        """
        with self._room:
            while (room := self._room_bytes()) <= 0 and not stopped():
                self._room.wait(_LOOK_S)
        return room

    def _room_bytes(self) -> int:
        most = self._rows_unsearched_max
        if self._is_searched():
            most = self._rows_searched_max if self._now() >= self._writes_wait_until else 0
        return (most - self._sealed_rows()) * self._row_bytes

    def _sealed_rows(self) -> int:
        return sum(len(part.block) for part in self._view.sealed)

    def wake(self) -> None:
        """Let a waiting writer look at its stop signal."""
        with self._room:
            self._room.notify_all()

    # --- building: the builder's thread -------------------------------------------------------

    def seal(self, rows_min: int) -> bool:
        """Seal the head if it has at least `rows_min` live rows, or any after a long rest."""
        with self._lock:
            view = self._view
            self._rests = self._rests + 1 if view.seq == self._seq_at_rest else 1
            self._seq_at_rest = view.seq
            if self._rests > _LONG_REST and view.segments:
                rows_min = 1
            if view.parts[-1].live < rows_min:
                return False
            self._head = self._new_head()
            parts = (*self._view.parts, Part(self._head, self._head.block()))
            self._view = replace(self._view, parts=parts)
        return True

    def plan(self) -> Build | None:
        """Decide what to build next; None when there is nothing to do."""
        view = self._view
        segments, sealed = view.segments, view.sealed
        sizes = [SegmentSize(len(part.block), part.n_dead) for part in segments]
        plan = choose(
            sizes,
            sum(len(part.block) for part in sealed),
            self._config,
            self._copied_rows_max(view),
        )
        if plan is None:
            return None
        sources = tuple(segments[i] for i in plan.segments) + (sealed if plan.sealed else ())
        return _build_of(view, sources, extend=plan.extend)

    def plan_fields(self) -> Build | None:
        """Choose a segment that lacks columns of declared fields, to be made anew with them.

        Its graph stays. Sealed heads get theirs when they become segments.
        """
        view = self._view
        for part in view.segments:
            if part.live and part.block.fields.lacking(view.filterable):
                return _build_of(view, (part,), extend=True)
        return None

    def _copied_rows_max(self, view: View) -> int:
        """Tell how large a segment may be to be copied for the sake of a few rows."""
        rests = self._rests if view.seq == self._seq_at_rest else 0
        return rests * _REST_BYTES // self.segment_row_bytes

    def execute(
        self,
        build: Build,
        path: Path,
        *,
        threads: int,
        stopped: Callable[[], bool],
        read: ReadValues,
        files: FileSystem = LOCAL_FILES,
    ) -> Built:
        """Build a segment, write it and open it.

        Args:
            build: what to build.
            path: of its file.
            threads: to build with.
            stopped: asked now and then whether to stop.
            read: gives the values of fields that rows have no columns of.
            files: the file system.

        Raises:
            BuildStopped: `stopped` said so; nothing remains.
            OSError: the file cannot be written; nothing remains.
        """
        origin = np.flatnonzero(np.concatenate(build.kept))
        if not len(origin):
            return Built(build, None, origin)
        spec = replace(self.spec, filterable=build.filterable)
        live = [part.live_rows() for part in build.sources]
        blocks = [
            with_fields(part.block, alive, build.filterable, read, stopped)
            for part, alive in zip(build.sources, live, strict=True)
        ]
        gathering = Gathering(blocks, build.kept)
        rows = gathering.columns()
        rows.seqs[~np.concatenate(live)[origin]] = DEAD_SEQ
        base, codes = build.base, rows.codes
        effort = Effort(threads, stopped, self._is_urgent)
        arrays = graph.build(spec, codes, None if base is None else base.graph_arrays, effort)
        divided = cells.build(spec, codes, None if base is None else base.cells, effort)
        self._writes_wait_until = self._now() + _WAIT_FOR_WAIT * effort.waited_s
        crc = segment_file.write(path, spec, rows, gathering.vectors, arrays, divided, files)
        segment = Segment(path, spec, crc, keep_vectors=self._config.vectors == "ram")
        _ = segment.lookup  # made here rather than under the lock
        if any(isinstance(p.source, Segment) and p.source.has_id_table for p in self._view.parts):
            _ = segment.id_table  # made here rather than by the next search
        return Built(build, segment, origin)

    def _is_urgent(self) -> bool:
        """Tell whether a build harms no searches, or less than what they scan without it."""
        return not self._is_searched() or self._sealed_rows() > _BEHIND * self._rows_searched_max

    def _is_searched(self) -> bool:
        return self._now() - self._last_search < _SEARCHED_S

    def publish(self, built: Built) -> None:
        """Put a built segment in the place of its sources; `changing` must be held.

        Rows that died while it was built die in it as well.
        """
        sources = {id(part.source) for part in built.build.sources}
        with self._room:
            others = tuple(p for p in self._view.parts if id(p.source) not in sources)
            new = () if built.segment is None else (self._with_current_dead(built, built.segment),)
            self._view = replace(self._view, parts=new + others)
            self._room.notify_all()

    def _with_current_dead(self, built: Built, segment: Segment) -> Part:
        current = {id(part.source): part for part in self._view.parts}
        sources = (current[id(part.source)] for part in built.build.sources)
        live = np.concatenate([part.live_rows() for part in sources])[built.origin]
        part = Part(segment, segment.block)
        return part if live.all() else part.without(np.flatnonzero(~live))


def _build_of(view: View, sources: tuple[Part, ...], *, extend: bool) -> Build:
    """Make a build of some parts; all sealed heads, or none of them.

    Args:
        view: whose parts they are.
        sources: at least one; the segments first.
        extend: keep and extend the graph of the first one.
    """
    sealed = view.sealed
    kept = [part.live_rows() for part in sources]
    first = sources[0].source
    base = first if extend and isinstance(first, Segment) else None
    if base is not None:
        kept[0][:] = True
    takes_sealed = not sources[-1].indexed
    left = view.parts[-1].block if takes_sealed or not sealed else sealed[0].block
    seq = int(left.seqs[0]) - 1 if len(left) else view.seq
    return Build(sources, tuple(kept), base, seq, view.filterable)
