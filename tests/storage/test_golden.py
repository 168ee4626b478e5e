"""Data written by older versions stays readable, byte by byte the same answers."""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.golden.make_v1 import CONFIG, HERE, IDENTITY, SPECS, answers_of
from tests.pieces import ids_of
from tests.storage.conftest import BUSY, OpenCatalog

from fanlight.model import IdType
from fanlight_server.catalog import Catalog


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Unpack the data directory."""
    with tarfile.open(HERE / "data.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "data"


@pytest.fixture
def answers() -> dict[str, Any]:
    """Give what the directory answered when it was written."""
    parsed: dict[str, Any] = json.loads((HERE / "answers.json").read_text())
    return parsed


def answers_now(catalog: Catalog) -> dict[str, Any]:
    """Ask all again, through JSON, as the expected answers went."""
    asked = {spec.name: answers_of(catalog.get(spec.name)) for spec in SPECS}
    parsed: dict[str, Any] = json.loads(json.dumps(asked))
    return parsed


def test_version_1_is_read(
    data: Path,
    answers: dict[str, Any],
    open_catalog: OpenCatalog,
    wait_until: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Old data gives its old answers; its segments are built anew, with one line in the log each."""
    before = {path: path.read_bytes() for path in data.rglob("*.seg")}
    assert len(before) == 2
    with caplog.at_level(logging.INFO, "fanlight_server"):
        catalog = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    for spec in SPECS:
        assert catalog.get(spec.name).spec == spec
    assert answers_now(catalog) == answers
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
    wait_until(lambda: all(again.get(spec.name).info().segments == 1 for spec in SPECS))
    assert answers_now(again) == answers
    assert not any(path.exists() and path.read_bytes() == old for path, old in before.items())


def test_version_1_is_written_on(data: Path, open_catalog: OpenCatalog) -> None:
    """Old data takes new changes, and a restart keeps them."""
    catalog = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    gone = ids_of(range(-500, -400), IdType.STRING)
    removed = catalog.get("texts").delete(gone).result(20).deleted
    assert removed == len(range(-500, -400, 3)) - 10
    count = catalog.get("texts").count()
    catalog.close()
    again = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    assert again.get("texts").count() == count == 520 - 10 - removed
