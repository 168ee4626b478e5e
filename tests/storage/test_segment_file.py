"""Segment files: what is written comes back, and damage never passes."""

from __future__ import annotations

import json
import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import block_of, content_of, floats, ids_of, searched, spec_of, write

from fanlight.errors import Corruption
from fanlight.model import CollectionSpec, IdType, Metric
from fanlight_server.index import segment_file
from fanlight_server.index.block import DEAD_SEQ
from fanlight_server.index.segment import Segment

ID_TYPES = list(IdType)
ROWS = 150


def content(spec: CollectionSpec, rows: int = ROWS, seed: int = 1) -> segment_file.SegmentContent:
    ids = ids_of(np.arange(rows) * 7 - 50, spec.id_type)
    if spec.id_type is IdType.STRING:
        ids[0], ids[1], ids[2] = "ünï", "a\0b", "x" * 512
    block = block_of(ids, floats(seed, rows, spec.dim), metric=spec.metric)
    block.seqs[3] = DEAD_SEQ
    return content_of(spec, block)


def assert_same(got: segment_file.SegmentContent, expected: segment_file.SegmentContent) -> None:
    for name in ("ids", "order", "seqs", "vectors", "lengths", "codes"):
        np.testing.assert_array_equal(getattr(got.block, name), getattr(expected.block, name))
    for name in ("links", "levels", "upper", "entry_point", "top_level"):
        np.testing.assert_array_equal(getattr(got.graph, name), getattr(expected.graph, name))
    assert (got.cells is None) == (expected.cells is None)
    for mine, other in zip(got.cells or (), expected.cells or (), strict=True):
        np.testing.assert_array_equal(mine, other)


def header_of(data: bytes) -> dict[str, object]:
    (length,) = struct.unpack_from("<I", data, 12)
    header: dict[str, object] = json.loads(data[20 : 20 + length])
    return header


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("id_type", ID_TYPES)
@pytest.mark.parametrize("rows", [1, 2, ROWS])
@pytest.mark.parametrize("keep_vectors", [True, False])
def test_what_is_written_comes_back(
    tmp_path: Path, metric: Metric, id_type: IdType, rows: int, keep_vectors: bool
) -> None:
    """Every column and the graph come back as they were; the arrays cannot be written to."""
    spec = spec_of(5, metric, id_type)
    written = (
        content(spec, max(rows, 4))
        if rows > 2
        else content_of(
            spec, block_of(ids_of(range(rows), id_type), floats(2, rows, 5), metric=metric)
        )
    )
    crc = write(tmp_path / "1.seg", spec, written)
    got = segment_file.read(tmp_path / "1.seg", spec, crc, keep_vectors=keep_vectors)
    assert_same(got, written)
    assert not got.block.vectors.flags.writeable
    assert not got.graph.links.flags.writeable


def test_the_file_is_laid_out_as_documented(tmp_path: Path) -> None:
    """Magic, version, header and aligned parts are where docs/format.md says."""
    spec = spec_of(5)
    crc = write(tmp_path / "1.seg", spec, content(spec))
    data = (tmp_path / "1.seg").read_bytes()
    magic, version, length, header_crc = struct.unpack_from("<8sIII", data)
    assert (magic, version, header_crc) == (b"FANLSEG\n", 2, crc)
    assert zlib.crc32(data[20 : 20 + length]) == crc
    header = json.loads(data[20 : 20 + length])
    assert [part["name"] for part in header["parts"]] == [
        "ids", "seqs", "vectors", "lengths", "codes", "links", "levels", "upper",
        "cell_centres", "cell_bounds", "cell_rows",
    ]  # fmt: skip
    sizes = {part["name"]: part["bytes"] for part in header["parts"]}
    assert sizes["vectors"] == ROWS * 5 * 4
    assert sizes["links"] == ROWS * (1 + 2 * 8) * 4
    for part in header["parts"]:
        assert part["offset"] % 4096 == 0
        assert zlib.crc32(data[part["offset"] :][: part["bytes"]]) == part["crc32"]
    assert {key: header[key] for key in ("metric", "dim", "id_type", "m", "ef_construction")} == {
        "metric": "cosine", "dim": 5, "id_type": "int64", "m": 8, "ef_construction": 64,
    }  # fmt: skip


def test_a_file_outlives_its_name(tmp_path: Path) -> None:
    """An opened segment answers after its file was removed."""
    spec = spec_of(5)
    path = tmp_path / "1.seg"
    crc = write(path, spec, content(spec))
    segment = Segment(path, spec, crc, keep_vectors=False)
    before = searched(segment, floats(3, 2, 5), 5, 50)
    path.unlink()
    after = searched(segment, floats(3, 2, 5), 5, 50)
    np.testing.assert_array_equal(before.ids, after.ids)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A write that fails midway leaves neither the file nor a temporary one."""
    spec = spec_of(5)
    good = content(spec)
    (tmp_path / "1.seg").mkdir()
    with pytest.raises(OSError, match="directory"):
        write(tmp_path / "1.seg", spec, good)
    assert [path.name for path in tmp_path.iterdir()] == ["1.seg"]


class Damage:
    """A sound segment file, and what becomes of damaged copies."""

    def __init__(self, directory: Path, id_type: IdType) -> None:
        self.path = directory / "1.seg"
        self.spec = spec_of(5, Metric.COSINE, id_type)
        self.content = content(self.spec)
        self.crc = write(self.path, self.spec, self.content)
        self.data = self.path.read_bytes()
        self.parts: list[dict[str, int]] = header_of(self.data)["parts"]  # type: ignore[assignment]  # JSON

    def refused(self, data: bytes) -> bool:
        """Tell whether the file with these bytes is refused as corrupt."""
        self.path.write_bytes(data)
        try:
            got = segment_file.read(self.path, self.spec, self.crc, keep_vectors=True)
        except Corruption:
            return True
        assert_same(got, self.content)
        return False


@pytest.fixture(params=ID_TYPES)
def damage(tmp_path: Path, request: pytest.FixtureRequest) -> Damage:
    """Give a sound file of either id type."""
    return Damage(tmp_path, request.param)


def flipped(data: bytes, at: int, bit: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


@pytest.mark.slow
def test_a_flipped_bit_is_found(damage: Damage) -> None:
    """One flipped bit in the prefix, the header, a part or between: Corruption, wherever."""
    (length,) = struct.unpack_from("<I", damage.data, 12)
    random_places = random.Random(5).sample(range(20 + length, len(damage.data)), 250)
    for at in [*range(20 + length), *random_places]:
        assert damage.refused(flipped(damage.data, at, at % 8)), at


def test_a_flipped_bit_at_the_ends_of_each_part_is_found(damage: Damage) -> None:
    """The first and the last bit of every part count."""
    for part in damage.parts:
        for at, bit in ((part["offset"], 0), (part["offset"] + part["bytes"] - 1, 7)):
            assert damage.refused(flipped(damage.data, at, bit)), part["name"]


def test_a_short_file_is_refused(damage: Damage) -> None:
    """Cut at and beside every boundary, a file is Corruption."""
    (length,) = struct.unpack_from("<I", damage.data, 12)
    ends = [part["offset"] + part["bytes"] for part in damage.parts]
    places = [0, 1, 8, 12, 16, 20, 20 + length, len(damage.data), *ends]
    places += [part["offset"] for part in damage.parts]
    for place in sorted({place + step for place in places for step in (-1, 0, 1)}):
        if 0 <= place < len(damage.data):
            assert damage.refused(damage.data[:place]), place


def test_a_zeroed_page_is_refused(damage: Damage) -> None:
    """A page that a disk gave back as zeros is Corruption."""
    for start in range(0, len(damage.data), 4_096):
        page = damage.data[start : start + 4_096]
        assert damage.refused(damage.data[:start] + bytes(len(page)) + damage.data[start + 4_096 :])


def test_shifted_and_swapped_pages_are_refused(damage: Damage) -> None:
    """Bytes that are sound but in the wrong place are Corruption."""
    data = damage.data
    assert damage.refused(data[:4_096] + data[8_192:12_288] + data[4_096:8_192] + data[12_288:])
    assert damage.refused(b"\0" + data)
    assert damage.refused(data[:6_000] + b"\0" + data[6_000:])


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"FANLSEG\n", bytes(100_000), random.Random(1).randbytes(50_000)]
)
def test_garbage_is_refused(damage: Damage, data: bytes) -> None:
    """A file that never was a segment is Corruption."""
    assert damage.refused(data)


def test_another_version_is_refused_by_name(damage: Damage) -> None:
    """The error tells the version found and the one expected."""
    damage.path.write_bytes(damage.data[:8] + struct.pack("<I", 3) + damage.data[12:])
    with pytest.raises(Corruption, match="format version 3, expected 2"):
        segment_file.read(damage.path, damage.spec, damage.crc, keep_vectors=True)


def test_an_older_version_is_no_damage(damage: Damage) -> None:
    """A file of version 1 is told from a damaged one: it is built again without alarm."""
    damage.path.write_bytes(damage.data[:8] + struct.pack("<I", 1) + damage.data[12:])
    with pytest.raises(segment_file.OutdatedSegment, match="format version 1"):
        segment_file.read(damage.path, damage.spec, damage.crc, keep_vectors=True)


@pytest.mark.parametrize(
    ("part", "value"), [("links", 10_000), ("upper", 10_000), ("levels", 200), ("links", 2**31)]
)
def test_a_graph_that_leads_nowhere_is_refused(tmp_path: Path, part: str, value: int) -> None:
    """Links that were written wrong, with sound checksums, are Corruption and no crash."""
    spec = spec_of(5)
    wrong = content(spec)
    getattr(wrong.graph, part).reshape(-1)[:3] = value % 2**32 if part != "levels" else value
    path = tmp_path / "1.seg"
    crc = write(path, spec, wrong)
    with pytest.raises(Corruption, match=r"^1\.seg: "):
        Segment(path, spec, crc, keep_vectors=True)


@pytest.mark.parametrize(
    ("part", "place", "value"), [("bounds", -1, 149), ("bounds", 1, 2**31), ("rows", 0, ROWS)]
)
def test_cells_that_lead_nowhere_are_refused(
    tmp_path: Path, part: str, place: int, value: int
) -> None:
    """Cells that were written wrong, with sound checksums, likewise."""
    spec = spec_of(5)
    wrong = content(spec)
    getattr(wrong.cells, part)[place] = value
    crc = write(tmp_path / "1.seg", spec, wrong)
    with pytest.raises(Corruption, match=r"^1\.seg: .*cells"):
        Segment(tmp_path / "1.seg", spec, crc, keep_vectors=True)


def test_a_file_need_not_have_cells(tmp_path: Path) -> None:
    """Small segments have none, and files that were written before there were cells."""
    spec = spec_of(5)
    without = replace(content(spec), cells=None)
    crc = write(tmp_path / "1.seg", spec, without)
    assert_same(segment_file.read(tmp_path / "1.seg", spec, crc, keep_vectors=True), without)
    segment = Segment(tmp_path / "1.seg", spec, crc, keep_vectors=True)
    assert searched(segment, floats(3, 2, 5), 5, 50).counts.tolist() == [5, 5]


def test_a_missing_file_and_a_directory_are_refused(damage: Damage, tmp_path: Path) -> None:
    """No file, or something that is none, is Corruption as well."""
    for path in (tmp_path / "2.seg", tmp_path):
        with pytest.raises(Corruption):
            segment_file.read(path, damage.spec, damage.crc, keep_vectors=True)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 6},
        {"metric": Metric.DOT},
        {"m": 9},
        {"ef_construction": 65},
        {"id_type": IdType.STRING},
    ],
)
def test_a_file_of_a_collection_with_other_parameters_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    """A sound file that contradicts the collection is Corruption, naming the parameter."""
    spec = spec_of(5)
    other: CollectionSpec = replace(spec, **change)  # type: ignore[arg-type]  # checked by dataclass
    crc = write(tmp_path / "1.seg", other, content(other))
    with pytest.raises(Corruption, match=next(iter(change))):
        segment_file.read(tmp_path / "1.seg", spec, crc, keep_vectors=True)


def test_a_sound_file_in_the_wrong_place_is_refused(tmp_path: Path) -> None:
    """A file of another collection with equal parameters is not the one that was written."""
    spec = spec_of(5)
    ours = write(tmp_path / "1.seg", spec, content(spec, seed=1))
    theirs = write(tmp_path / "2.seg", spec, content(spec, seed=2))
    assert ours != theirs
    (tmp_path / "2.seg").rename(tmp_path / "1.seg")
    with pytest.raises(Corruption, match=r"^1\.seg: another segment's file"):
        segment_file.read(tmp_path / "1.seg", spec, ours, keep_vectors=True)
