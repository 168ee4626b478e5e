"""What to build next: a pure decision over sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanlight_server.index.settings import IndexConfig

# A segment is extended when it has at most this many times the rows that are added to it, and small
# ones are merged into the largest when they have that share of it. Every extension copies the
# segment, so the factor bounds that work; a smaller one inserts rows into graphs more often and
# leaves more segments to be searched. Inserting a row takes about 120 us, copying one 9 us (784
# dimensions, measured beside searches). With 5 and no rest, rows that arrive in 20, 100 or 400 equal
# blocks are inserted into a graph 1.4, 1.9 or 2.4 times each and copied 5, 8 or 10 times (simulated).
# Small ones merged at a twentieth had 20 rows copied for each that came: docs/adr/0025.
_COPIED_FACTOR = 5
# Others that have this share of the largest are merged into it as soon as it may be copied; fewer
# wait in proportion, so that a row now and then does not have all others copied.
_REST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class SegmentSize:
    """Rows of a segment, dead ones included, and how many of them are dead."""

    rows: int
    dead: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes into the next segment.

    Attributes:
        segments: places of the segments that it replaces, largest first.
        sealed: whether all sealed heads go in.
        extend: whether the graph of the first segment is kept and extended; otherwise a new one
            is built from the live rows alone.
    """

    segments: tuple[int, ...]
    sealed: bool
    extend: bool


def choose(
    segments: Sequence[SegmentSize],
    sealed_rows: int,
    config: IndexConfig,
    copied_rows_max: int = 0,
) -> Plan | None:
    """Decide what to build.

    1. A segment with too many dead rows is rebuilt without them.
    2. Sealed heads get a graph: in a segment of their own, or by extending segments that are
       not much larger than what is added to them.
    3. With nothing sealed, too many segments are merged.

    Args:
        segments: sizes of the segments.
        sealed_rows: rows of the sealed heads.
        config: thresholds.
        copied_rows_max: rows of a segment that may be copied to merge a hundredth as many others
            into it, which grows while nothing is written.

    Returns:
        The plan, or None when there is nothing to do.
    """
    by_size = sorted(range(len(segments)), key=lambda i: segments[i].rows)
    for i in by_size:
        if segments[i].dead > config.dead_share_max * segments[i].rows:
            return Plan((i,), sealed=sealed_rows > 0, extend=False)
    if sealed_rows:
        return _absorb(segments, by_size, sealed_rows)
    return _merge(segments, by_size, config, copied_rows_max)


def _absorb(segments: Sequence[SegmentSize], by_size: list[int], rows: int) -> Plan:
    taken: list[int] = []
    for i in by_size:
        if segments[i].rows > _COPIED_FACTOR * rows:
            break
        taken.insert(0, i)
        rows += segments[i].rows
    return Plan(tuple(taken), sealed=True, extend=bool(taken))


def _merge(
    segments: Sequence[SegmentSize],
    by_size: list[int],
    config: IndexConfig,
    copied_rows_max: int,
) -> Plan | None:
    if len(segments) < 2:
        return None
    small = sum(segments[i].rows for i in by_size[:-1])
    largest = segments[by_size[-1]].rows
    share = small / largest
    rested = largest <= copied_rows_max * min(1.0, share / _REST_SHARE)
    if _COPIED_FACTOR * small >= largest or rested:
        return Plan(tuple(reversed(by_size)), sealed=False, extend=True)
    if len(segments) > config.segments_max:
        return Plan((by_size[1], by_size[0]), sealed=False, extend=True)
    return None
