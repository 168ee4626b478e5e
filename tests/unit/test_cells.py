"""When segments have cells, and what becomes of them as rows come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import block_of, floats, spec_of

from fanlight.fields import FieldValues
from fanlight.filters import FieldType
from fanlight.model import IdColumn, Rows
from fanlight_server.index import cells
from fanlight_server.index.effort import BuildStopped, Effort
from fanlight_server.index.index import Index
from fanlight_server.index.segment import Segment
from fanlight_server.index.settings import IndexConfig

DIM = 8
ROWS = 9_000


def built(
    vectors_of: int, base: cells.CellArrays | None = None, effort: Effort | None = None
) -> cells.CellArrays | None:
    block = block_of(np.arange(vectors_of), floats(1, 40_000, DIM)[:vectors_of])
    return cells.build(spec_of(DIM), block.codes, base, effort or Effort())


def test_few_rows_have_none() -> None:
    """They are scanned at no great cost."""
    assert built(8_191) is None


def test_a_cell_for_each_quarter_of_the_root_of_the_rows() -> None:
    """Every row is in one of them."""
    made = built(10_000)
    assert made is not None
    assert len(made.centres) == 400
    np.testing.assert_array_equal(np.sort(made.rows), np.arange(10_000))


def test_centres_stay_until_the_rows_are_many_more() -> None:
    """Rows that came are put into the cells, and all are divided anew when cells grow too large."""
    first = built(10_000)
    assert first is not None
    grown = built(20_000, first)
    assert grown is not None
    np.testing.assert_array_equal(grown.centres, first.centres)
    assert len(grown.rows) == 20_000
    anew = built(30_000, grown)
    assert anew is not None
    assert len(anew.centres) == round(4 * 30_000**0.5)


def test_a_build_of_cells_can_be_stopped() -> None:
    """It asks before it goes on."""
    with pytest.raises(BuildStopped):
        built(10_000, effort=Effort(stopped=lambda: True))


def test_a_segment_that_is_large_enough_has_cells_and_keeps_them(tmp_path: Path) -> None:
    """Through its builds, and in its file."""
    spec, vectors = spec_of(DIM), floats(2, ROWS + 3_000, DIM)
    index = Index(spec, IndexConfig(segments_max=1))

    def put(first: int, end: int) -> Segment:
        index.upsert(np.arange(first, end), first + 1, vectors[first:end])
        index.seal(1)
        build = index.plan()
        assert build is not None
        made = index.execute(
            build, tmp_path / f"{end}.seg", threads=2, stopped=lambda: False, read=no_fields
        )
        index.publish(made)
        assert made.segment is not None
        return made.segment

    first = put(0, ROWS)
    assert first.cells is not None
    grown = put(ROWS, ROWS + 3_000)
    assert grown.cells is not None
    np.testing.assert_array_equal(grown.cells.centres, first.cells.centres)
    np.testing.assert_array_equal(np.sort(grown.cells.rows), np.arange(ROWS + 3_000))
    again = Segment(grown.path, spec, grown.crc, keep_vectors=True)
    assert again.cells is not None
    np.testing.assert_array_equal(again.cells.rows, grown.cells.rows)


def no_fields(ids: IdColumn, seqs: Rows, fields: Mapping[str, FieldType]) -> list[FieldValues]:
    raise AssertionError("no field is declared")
