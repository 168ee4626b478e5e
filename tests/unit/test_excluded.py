"""Rows that searches exclude: found by id, kept for the next search, and never those of others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import block_of, floats, ids_of, segment_of, spec_of

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.ids import ascending
from fanlight.joined_ids import JoinedIds
from fanlight.model import IdColumn, IdType, Rows
from fanlight.packed_ids import PackedIds
from fanlight_server.index.bits import unpacked
from fanlight_server.index.excluded import Excluded, KeptRows
from fanlight_server.index.head import Head
from fanlight_server.index.index import Index
from fanlight_server.index.query import Queries
from fanlight_server.index.segment import Segment
from fanlight_server.index.settings import IndexConfig
from fanlight_server.index.view import Part

N, DIM = 500, 4


def kept_ids(part: Part, *columns: IdColumn) -> set[object]:
    first, *others = columns
    bits = Excluded(first, [ascending(column) for column in others]).kept(part)
    assert bits is not None
    return set(part.block.ids[unpacked(bits, N)].tolist())


@pytest.mark.parametrize("id_type", list(IdType))
@pytest.mark.parametrize("columns", [(3,), (40, 100), (3_000,), (2_000, 5, 4_000)])
def test_rows_are_found_by_id(tmp_path: Path, id_type: IdType, columns: tuple[int, ...]) -> None:
    """However many ids there are, in whatever columns, and when they are asked for again."""
    rng = np.random.default_rng(len(columns))
    ids = ids_of(rng.permutation(N) * 7, id_type)
    part = Part(
        segment_of(tmp_path / "s", spec_of(DIM, id_type=id_type), block_of(ids, floats(1, N, DIM))),
        block_of(ids, floats(1, N, DIM)),
    )
    excluded = [ids_of(rng.choice(9 * N, n, replace=False), id_type) for n in columns]
    left = set(ids.tolist()) - {value for column in excluded for value in column.tolist()}
    for _ in range(2):
        assert kept_ids(part, *excluded) == left


@pytest.mark.parametrize(
    ("apart", "packed"), [(1, True), (300, True), (1, False), (300, False), (2**45, False)]
)
def test_ids_are_looked_up_in_every_part(tmp_path: Path, apart: int, *, packed: bool) -> None:
    """Packed, and in no order; one search meets heads and segments."""
    rng = np.random.default_rng(apart)
    ids = rng.permutation(3 * N)[:N] * np.int64(apart)
    block = block_of(ids, floats(1, N, DIM))
    segment = Part(segment_of(tmp_path / "s", spec_of(DIM), block), block)
    head = Part(Head(0, spec_of(DIM)), block)
    gone = rng.integers(0, 4_000, 3_000) * np.int64(apart)
    column = PackedIds.of(np.unique(gone)) if packed else gone
    assert column is not None
    for parts in ([segment, head, segment], [head, segment]):
        excluded = Excluded(column)
        for part in parts:
            bits = excluded.kept(part)
            assert bits is not None
            np.testing.assert_array_equal(unpacked(bits, N), ~np.isin(ids, gone))


def test_strings_are_looked_up_in_every_part(tmp_path: Path) -> None:
    """Joined, and as a column of which one holds what ends the others."""
    rng = np.random.default_rng(4)
    ids = ids_of(rng.permutation(3 * N)[:N], IdType.STRING)
    ids[:3] = ["", "a\0b", "\u20ac" * 40]
    spec = spec_of(DIM, id_type=IdType.STRING)
    block = block_of(ids, floats(1, N, DIM))
    segment = Part(segment_of(tmp_path / "s", spec, block), block)
    head = Part(Head(0, spec), block)
    gone = np.append(ids_of(rng.integers(0, 4_000, 3_000), IdType.STRING), ["", "a", "b", ids[2]])
    joined = JoinedIds.of(gone.tolist())
    assert joined is not None
    for part in (segment, head):
        bits = Excluded(joined).kept(part)
        assert bits is not None
        np.testing.assert_array_equal(unpacked(bits, N), ~np.isin(ids, gone))
        with_nul = np.append(gone, "a\0b")
        assert kept_ids(part, with_nul) == set(ids.tolist()) - set(with_nul.tolist())


def test_what_was_not_used_for_longest_goes_first() -> None:
    """The room is bounded in bytes."""
    bits = np.ones(8, dtype=np.uint8)
    columns = [np.arange(10) + i for i in range(3)]
    kept = KeptRows(most_bytes=2 * (80 + 8))
    for column in columns[:2]:
        kept.put(column, bits)
    assert kept.get(columns[0]) is bits
    kept.put(columns[2], bits)
    assert kept.get(columns[1]) is None
    assert kept.get(columns[0]) is bits


def test_ids_may_lie_anywhere_in_memory(tmp_path: Path) -> None:
    """Those of a message begin at any byte."""
    ids = np.arange(N, dtype=np.int64)
    block = block_of(ids, floats(1, N, DIM))
    part = Part(segment_of(tmp_path / "s", spec_of(DIM), block), block)
    shifted = np.frombuffer(b"x" + ids[:N:2].tobytes(), dtype=np.int64, offset=1)
    assert not shifted.flags.aligned
    for column in (shifted, ids[::2]):
        assert kept_ids(part, column) == set(range(1, N, 2))


@pytest.mark.parametrize("id_type", list(IdType))
def test_only_sets_are_kept(tmp_path: Path, id_type: IdType) -> None:
    """Ids of requests are not: they would drive out the columns of sets."""
    ids = ids_of(np.arange(N), id_type)
    segment = segment_of(
        tmp_path / "s", spec_of(DIM, id_type=id_type), block_of(ids, floats(1, N, DIM))
    )
    part = Part(segment, block_of(ids, floats(1, N, DIM)))
    kept = segment.kept_rows
    of_set = ascending(ids_of(np.arange(2_000), id_type))
    Excluded(sets=[of_set]).kept(part)
    bits = kept.get(of_set)
    assert bits is not None
    for start in range(100):
        of_request = ascending(ids_of(np.arange(start, start + 3_000), id_type))
        Excluded(of_request).kept(part)
    assert kept.get(of_set) is bits
    assert kept.get(ascending(ids_of(np.arange(2_000), id_type))) is None


def test_a_segment_in_the_place_of_others_is_ready_to_exclude(tmp_path: Path) -> None:
    """Where searches exclude ids they do not wait for the table of each new segment."""
    index = Index(spec_of(DIM), IndexConfig(segments_max=1))

    def put(first: int) -> Segment:
        index.upsert(np.arange(first, first + N), first + 1, floats(1, N, DIM))
        index.seal(1)
        build = index.plan()
        assert build is not None
        path = tmp_path / f"{first}.seg"
        built = index.execute(build, path, threads=1, stopped=lambda: False, read=no_fields)
        index.publish(built)
        (part,) = (part for part in index.view.parts if part.indexed)
        assert isinstance(part.source, Segment)
        return part.source

    before = put(0)
    assert not before.has_id_table
    query = Queries(floats(2, 1, DIM), 3, 64, excluded=Excluded(np.arange(50)))
    assert index.view.search(query)[0].ids.min() >= 50
    assert before.has_id_table
    assert put(N).has_id_table


def no_fields(ids: IdColumn, seqs: Rows, fields: Mapping[str, FieldType]) -> list[FieldValues]:
    raise AssertionError("no field is declared")
