"""`fanlight check`: finds damage, repairs what derives, and never touches a sound item."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.faults.damage import DIM, QUERIES, Sound, flip, opened
from tests.pieces import floats, ids_of, spec_of
from tests.storage.conftest import LAZY
from tests.storage.model import check as check_against

from fanlight.errors import Corruption
from fanlight.model import ItemBatch
from fanlight_server.check.__main__ import main
from fanlight_server.check.directory import NoDataDirectory, check, check_and_repair
from fanlight_server.storage.files import DirectoryInUse

NUMBERS = Path("collections/numbers@1")
TEXTS = Path("collections/texts@1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Write sound directories once."""
    return Sound.make(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def data(made: Sound, tmp_path: Path) -> Path:
    """Give a copy of a sound data directory."""
    return Path(shutil.copytree(made.home, tmp_path / "data"))


def problems(data: Path) -> list[tuple[str, str]]:
    return [(finding.file, finding.remedy) for finding in check(data).all_findings]


def edit(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def files(data: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in data.rglob("*") if p.is_file() and p.name != "LOCK"}


def serves(data: Path, made: Sound) -> None:
    """Make sure that a shard starts on it and has every item."""
    with closing(opened(data)) as catalog:
        for name, model in made.models.items():
            check_against(catalog.get(name), model, QUERIES)


def test_a_sound_directory_is_left_as_it_is(made: Sound, tmp_path: Path) -> None:
    """Stopped or killed: no finding, the counts of the model, and no byte changed."""
    for base in (made.home, made.killed):
        data = Path(shutil.copytree(base, tmp_path / base.name))
        before = files(data)
        report = check(data)
        assert report.sound, report.text()
        assert {f.name: f.items for f in report.collections} == {
            name: len(model.items) for name, model in made.models.items()
        }
        if base == made.home:
            assert files(data) == before
        assert check_and_repair(data).sound
        serves(data, made)


def test_exit_codes_and_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 sound, 1 findings, 2 wrong usage; --json is for scripts."""
    assert main([str(data)]) == 0
    assert capsys.readouterr().out.endswith("sound\n")
    flip(next((data / NUMBERS / "segments").iterdir()), 5_000, 1)
    assert main(["--json", str(data)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["sound"]
    assert [f["remedy"] for c in found["collections"] for f in c["findings"]] == ["rebuild"]
    assert main([str(data / "nowhere")]) == 2
    for argv in ([], [str(data), "--drop-damaged-rows"], [str(data), "--what"]):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 2
    with pytest.raises(NoDataDirectory):
        check(data.parent)


def test_a_running_server_is_left_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The owner's pid is named, and the exit code says that nothing was checked."""
    with closing(opened(data)):
        with pytest.raises(DirectoryInUse):
            check(data)
        assert main([str(data)]) == 2
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert main([str(data)]) == 0


@pytest.mark.slow
def test_the_command_line_runs_it(data: Path) -> None:
    """`fanlight check` gives its output and its exit status."""
    (data / NUMBERS / "segments" / "notes.txt").write_text("?")
    argv = [sys.executable, "-m", "fanlight.cli", "check", str(data)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "notes.txt: belongs to nothing" in done.stdout
    done = subprocess.run([*argv, "--repair"], capture_output=True, text=True, check=False)
    assert (done.returncode, "repaired" in done.stdout) == (0, True)
    assert not (data / NUMBERS / "segments" / "notes.txt").exists()


def test_derived_data_is_repaired(data: Path, made: Sound) -> None:
    """Damaged segments, strays, indexes, marks and lists are made anew; every item stays."""
    flip(next((data / NUMBERS / "segments").iterdir()), 5_000, 1)
    (data / TEXTS / "segments" / "00000099.seg.tmp").write_bytes(b"half")
    (data / "collections" / "gone@3" / "segments").mkdir(parents=True)
    edit(data / TEXTS / "items.db", "UPDATE segments SET seq = seq + 1")
    edit(data / NUMBERS / "items.db", "UPDATE marks SET crc = 1 WHERE name = 'tally'")
    assert {remedy for _, remedy in problems(data)} == {"rebuild"}
    with pytest.raises(Corruption):
        opened(data)
    report = check_and_repair(data)
    assert report.sound, report.text()
    assert all(finding.repaired for finding in report.all_findings)
    assert check(data).sound
    assert not problems(data)
    serves(data, made)


@pytest.mark.parametrize("name", ["numbers", "texts"])
def test_damaged_rows_are_given_up_only_when_told_to(data: Path, made: Sound, name: str) -> None:
    """Without the option nothing is touched; with it the ids are named, and the others stay."""
    path, model = data / f"collections/{name}@1" / "items.db", made.models[name]
    lost = ids_of(range(110, 113), model.id_type)
    with closing(sqlite3.connect(path)) as db, db:
        marked = ", ".join("?" * len(lost))
        db.execute(f"UPDATE items SET crc = crc + 1 WHERE id IN ({marked})", lost.tolist())
    before = path.read_bytes()
    report = check_and_repair(data)
    assert not report.sound
    assert path.read_bytes() == before
    report = check_and_repair(data, drop_damaged_rows=True)
    assert report.sound, report.text()
    named = {value for finding in report.all_findings for value in finding.ids}
    assert named == set(lost.tolist())
    assert "item" in report.text() or "110" in report.text()
    left = {**model.items}
    with closing(opened(data)) as catalog:
        for value in lost.tolist():
            del left[value]
        items = catalog.get(name).scroll(1_000, b"").items
        assert set(items.ids.tolist()) == set(left)
        assert catalog.get(name).count() == len(left)


def test_lost_rows_are_noticed_and_named(data: Path) -> None:
    """A row that the table has lost is known to its index; the tally knows of both."""
    with closing(sqlite3.connect(data / NUMBERS / "items.db")) as db, db:
        db.execute("DELETE FROM items WHERE id = 111")
    with pytest.raises(Corruption, match="index on seq holds"):
        opened(data)
    assert (f"{NUMBERS}/items.db", "drop") in problems(data)


def test_a_page_that_lost_rows_does_not_answer_for_them(
    data: Path, wait_until: Callable[..., None]
) -> None:
    """Rows hidden by a damaged page are missed by the index: Corruption, not "not found".

    Where the start reads the page it is refused there. `fanlight check` finds it too.
    """
    path, ids = data / "collections/plain@1/items.db", np.arange(650)
    with closing(opened(data, config=LAZY)) as catalog:
        catalog.create(spec_of(DIM, name="plain"))
        plain = catalog.get("plain")
        plain.upsert(ItemBatch(ids, floats(1, 650, DIM))).result()
        wait_until(lambda: plain.info().unindexed_items <= 10, 60)
    sound, late = path.read_bytes(), 0
    for page, cells in _leaves(sound):
        raw = bytearray(sound)
        raw[page + 3 : page + 5] = (cells - 2).to_bytes(2, "big")
        path.write_bytes(raw)
        assert not check(data).sound
        try:
            catalog = opened(data)
        except Corruption:
            continue
        late += 1
        with closing(catalog):
            collection = catalog.get("plain")
            with pytest.raises(Corruption, match="is gone"):
                collection.get(ids)
            with pytest.raises(Corruption, match="is gone"):
                collection.scroll(1_000, b"")
    assert late
    report = check_and_repair(data, drop_damaged_rows=True)
    assert report.sound, report.text()


def _leaves(data: bytes) -> list[tuple[int, int]]:
    """List the leaves of tables with many cells: where they start, and how many cells."""
    pages = range(16_384, len(data), 16_384)
    cells = [(at, int.from_bytes(data[at + 3 : at + 5], "big")) for at in pages]
    return [(at, n) for at, n in cells if data[at] == 0x0D and n > 20]


@pytest.mark.parametrize(
    ("other", "file"),
    [
        (lambda made: made.older, "catalog.db"),
        (lambda made: made.older, NUMBERS / "items.db"),
        (lambda made: made.other, NUMBERS / "items.db"),
        (lambda made: made.other, "catalog.db"),
    ],
)
def test_files_of_another_time_or_place_are_refused(
    data: Path, made: Sound, other: Callable[[Sound], Path], file: str | Path
) -> None:
    """An older file, or another shard's, is noticed by what the other files know of it."""
    shutil.copy(other(made) / file, data / file)
    with pytest.raises(Exception, match=r"older file|belongs to|directory holds shard 1"):
        opened(data)
    assert {remedy for _, remedy in problems(data)} >= {"restore"}
    before = files(data)
    assert not check_and_repair(data, drop_damaged_rows=True).sound
    assert (data / file).read_bytes() == before[data / file]


def test_an_older_catalog_costs_no_collection(data: Path, made: Sound) -> None:
    """A collection that the catalog does not know, with items in it, is not taken for waste."""
    shutil.copytree(made.home / NUMBERS, data / "collections" / "unknown@1")
    with pytest.raises(Corruption, match="knows nothing of unknown@1"):
        opened(data)
    assert (data / "collections" / "unknown@1" / "items.db").exists()
    assert not check_and_repair(data, drop_damaged_rows=True).sound
    assert (data / "collections" / "unknown@1" / "items.db").exists()
