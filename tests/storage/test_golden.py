"""Data written by older versions stays readable, byte by byte the same answers."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.golden.make import (
    CONFIG,
    IDENTITY,
    PEERS,
    SPECS_V1,
    SPECS_V2,
    V1,
    V2,
    V3,
    V4,
    answers_of,
)
from tests.pieces import ids_of
from tests.storage.conftest import BUSY, OpenCatalog

from fanlight.conditions import field
from fanlight.errors import Corruption
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, IdType
from fanlight_server.catalog import Catalog
from fanlight_server.check.directory import check
from fanlight_server.storage import marks


def unpacked(version: Path, target: Path) -> tuple[Path, dict[str, Any]]:
    """Unpack a data directory; also give what it answered when it was written."""
    with tarfile.open(version / "data.tar.gz") as archive:
        archive.extractall(target, filter="data")
    answers: dict[str, Any] = json.loads((version / "answers.json").read_text())
    return target / "data", answers


def answers_now(catalog: Catalog, specs: Sequence[CollectionSpec]) -> dict[str, Any]:
    """Ask all again, through JSON, as the expected answers went."""
    for spec in specs:
        assert catalog.get(spec.name).spec == spec
    asked = {spec.name: answers_of(catalog.get(spec.name)) for spec in specs}
    parsed: dict[str, Any] = json.loads(json.dumps(asked))
    return parsed


@pytest.mark.parametrize("version", [V2, V3, V4])
def test_version_2_is_read(
    tmp_path: Path, open_catalog: OpenCatalog, caplog: pytest.LogCaptureFixture, version: Path
) -> None:
    """Data gives its answers, from the segments it came with, and no complaint.

    Their format is that of today in all; the databases of v2 have no marks, and get them.
    """
    data, answers = unpacked(version, tmp_path)
    before = {path: path.read_bytes() for path in data.rglob("*.seg")}
    assert len(before) == len(SPECS_V2)
    catalog = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    assert answers_now(catalog, SPECS_V2) == answers
    assert [catalog.get(spec.name).info().segments for spec in SPECS_V2] == [1, 1, 1]
    assert not caplog.records
    assert {path: path.read_bytes() for path in data.rglob("*.seg")} == before


def test_version_1_is_read(
    tmp_path: Path,
    open_catalog: OpenCatalog,
    wait_until: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Old data gives its old answers; its segments are built anew, with one line in the log each."""
    data, answers = unpacked(V1, tmp_path)
    before = {path: path.read_bytes() for path in data.rglob("*.seg")}
    assert len(before) == 2
    with caplog.at_level(logging.INFO, "fanlight_server"):
        catalog = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    assert answers_now(catalog, SPECS_V1) == answers
    states = [(i.spec.name, i.version, i.deleted) for i in catalog.describe(with_deleted=True)]
    assert states == [("gone", 7, True), ("numbers", 1, False), ("texts", 1, False)]
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    expected = [
        ("INFO", f"segment dropped, it will be rebuilt: {path.name}: format version 1")
        for path in before
    ]
    assert lines == expected

    catalog.close()
    again = open_catalog(BUSY, directory=data, identity=IDENTITY)
    wait_until(lambda: all(again.get(spec.name).info().segments == 1 for spec in SPECS_V1))
    assert answers_now(again, SPECS_V1) == answers
    assert not any(path.exists() and path.read_bytes() == old for path, old in before.items())


@pytest.mark.parametrize("version", [V1, V2, V3, V4])
def test_old_data_is_written_on(tmp_path: Path, open_catalog: OpenCatalog, version: Path) -> None:
    """Old data takes new changes, and a restart keeps them."""
    data, _ = unpacked(version, tmp_path)
    catalog = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    gone = ids_of(range(-500, -400), IdType.STRING)
    removed = catalog.get("texts").delete(gone).result(20).deleted
    assert removed == len(range(-500, -400, 3)) - 10
    count = catalog.get("texts").count()
    catalog.close()
    again = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    assert again.get("texts").count() == count == 520 - 10 - removed


@pytest.mark.parametrize("version", [V1, V2, V3, V4])
def test_old_data_is_sound(tmp_path: Path, open_catalog: OpenCatalog, version: Path) -> None:
    """The check passes old data as it is, and after it was opened."""
    data, _ = unpacked(version, tmp_path)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    report = check(data)
    assert report.sound, report.text()
    (data / "LOCK").unlink()
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    open_catalog(CONFIG, directory=data, identity=IDENTITY).close()
    report = check(data)
    assert report.sound, report.text()
    assert {found.format for found in report.collections} == {2}


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize(
    ("version", "databases"), [(V1, len(SPECS_V1)), (V2, len(SPECS_V2)), (V3, 0)]
)
def test_a_move_to_the_new_format_may_be_killed(
    tmp_path: Path,
    open_catalog: OpenCatalog,
    version: Path,
    databases: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever statement of the move was the last: the next start goes on, and loses nothing."""
    data, answers = unpacked(version, tmp_path)
    sound = tmp_path / "sound"
    shutil.copytree(data, sound)
    specs, write, at = SPECS_V1 if version is V1 else SPECS_V2, marks.write, 0
    while True:
        left = at

        def write_or_die(db: sqlite3.Connection, mark: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            write(db, mark)

        shutil.rmtree(data)
        shutil.copytree(sound, data)
        monkeypatch.setattr(marks, "write", write_or_die)
        try:
            open_catalog(CONFIG, directory=data, identity=IDENTITY)
        except Killed:
            pass
        else:
            break
        monkeypatch.setattr(marks, "write", write)
        again = open_catalog(CONFIG, directory=data, identity=IDENTITY)
        assert answers_now(again, specs) == answers
        again.close()
        at += 1
    assert at >= 2 + 5 * databases


def test_a_newer_format_is_refused_with_both_versions(
    tmp_path: Path, open_catalog: OpenCatalog
) -> None:
    """A server does not touch what a later one wrote."""
    newest = {"catalog.db": 3, "collections/texts@1/items.db": 2}
    for name, known in newest.items():
        data, _ = unpacked(V4, tmp_path / name.replace("/", "-"))
        with sqlite3.connect(data / name) as db:
            db.execute(f"PRAGMA user_version = {known + 1}")
        db.close()
        with pytest.raises(Corruption, match=f"format version {known + 1}, expected .*{known}"):
            open_catalog(CONFIG, directory=data, identity=IDENTITY)
        assert f"format version {known + 1}" in check(data).text()


@pytest.mark.parametrize("version", [V1, V2, V3, V4])
def test_data_has_an_id_from_the_first_start_on(
    tmp_path: Path, open_catalog: OpenCatalog, version: Path
) -> None:
    """One that was drawn later is kept as well; two copies that draw their own are strangers."""
    ids = []
    for copy in ("a", "b"):
        data, _ = unpacked(version, tmp_path / copy)
        first = open_catalog(CONFIG, directory=data, identity=IDENTITY)
        assert len(first.data_id) == 32
        assert first.peers == (PEERS if version is V4 else {})
        first.close()
        again = open_catalog(CONFIG, directory=data, identity=IDENTITY)
        assert (again.data_id, again.peers) == (first.data_id, first.peers)
        ids.append(again.data_id)
    assert (ids[0] == ids[1]) == (version is V4)


def test_an_old_database_cannot_come_back(tmp_path: Path, open_catalog: OpenCatalog) -> None:
    """An items.db of format version 1 in the place of the one that was made of it is refused."""
    data, _ = unpacked(V2, tmp_path)
    items = data / "collections" / "texts@1" / "items.db"
    old = items.read_bytes()
    open_catalog(CONFIG, directory=data, identity=IDENTITY).close()
    items.write_bytes(old)
    with pytest.raises(Corruption, match="an older file"):
        open_catalog(CONFIG, directory=data, identity=IDENTITY)
    assert not check(data).sound


@pytest.mark.parametrize("version", [V1, V2, V3, V4])
def test_fields_are_declared_for_items_of_older_versions(
    tmp_path: Path, open_catalog: OpenCatalog, wait_until: Callable[..., None], version: Path
) -> None:
    """Values come from the payloads that were stored then; all else is answered as it was."""
    data, answers = unpacked(version, tmp_path)
    catalog = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    for spec in SPECS_V1:
        collection = catalog.get(spec.name)
        catalog.update(spec.name, {"row": FieldType.INT, "text": FieldType.KEYWORD}, [])
        wait_until(lambda c=collection: not c.info().building_fields, 30)
        assert collection.count(field("row").range(gte=100, lt=130)) == 30
        assert collection.count(field("text") == "fenêtre") == 520 - 5 - 10
        catalog.update(spec.name, {}, ["row", "text"])
        assert json.loads(json.dumps(answers_of(collection))) == answers[spec.name]
    catalog.close()
    assert check(data).all_findings == []
