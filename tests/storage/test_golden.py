"""Data written by format version 1 stays readable, byte by byte the same answers."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.golden.make_v1 import CONFIG, HERE, IDENTITY, SPECS, answers_of
from tests.pieces import ids_of
from tests.storage.conftest import OpenCatalog

from fanlight.model import IdType


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


def test_version_1_is_read(
    data: Path, answers: dict[str, Any], open_catalog: OpenCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    """Old data gives its old answers, with its old segments, and no complaint."""
    segments = sorted(data.rglob("*.seg"))
    before = [path.read_bytes() for path in segments]
    assert len(segments) == 2
    catalog = open_catalog(CONFIG, directory=data, identity=IDENTITY)
    for spec in SPECS:
        assert catalog.get(spec.name).spec == spec
        assert catalog.get(spec.name).info().segments == 1
        # through JSON, as the expected ones went; missing values cannot occur here
        assert json.loads(json.dumps(answers_of(catalog.get(spec.name)))) == answers[spec.name]
    states = [(i.spec.name, i.version, i.deleted) for i in catalog.describe(with_deleted=True)]
    assert states == [("gone", 7, True), ("numbers", 1, False), ("texts", 1, False)]
    assert not caplog.records
    assert [path.read_bytes() for path in segments] == before


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
