"""What the adapters of public benchmarks import from them, for where these are not installed.

ann-benchmarks is not on the package index; vectordb-bench is, with a hundred packages besides.
Both adapters were run with the real ones (benchmarks/adapters/*/README.md).
"""

from __future__ import annotations

import importlib.util
import sys
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest


class BaseANN:
    """What ann-benchmarks' algorithms are made from; all methods are the algorithm's own."""


class MetricType(StrEnum):
    """VectorDBBench's metrics, those that matter here."""

    L2 = "L2"
    COSINE = "COSINE"
    IP = "IP"
    DP = "DP"
    HAMMING = "HAMMING"


class FilterOp(StrEnum):
    """VectorDBBench's kinds of filter."""

    NumGE = "NumGE"
    StrEqual = "Label"
    NonFilter = "NonFilter"


class Filter(pydantic.BaseModel):
    """VectorDBBench's filter of any kind."""

    type: FilterOp
    int_value: int = 0
    label_value: str = ""


class DBConfig(pydantic.BaseModel):
    """What VectorDBBench's configurations are made from."""

    db_label: str = ""


class DBCaseConfig:
    """What VectorDBBench's parameters are made from."""


class VectorDB:
    """What VectorDBBench's databases are made from."""


def _module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    """Let a module be imported, with the packages that it lies in."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        if path not in sys.modules:
            module = ModuleType(path)
            module.__path__ = []
            monkeypatch.setitem(sys.modules, path, module)
    vars(sys.modules[name]).update(content)


def ann_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide ann-benchmarks."""
    _module(monkeypatch, "ann_benchmarks.algorithms.base.module", BaseANN=BaseANN)


def vectordb_bench(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Provide VectorDBBench, unless the real one is there; its log goes into a folder."""
    monkeypatch.setenv("LOG_FILE", str(folder / "vectordb_bench.log"))
    if importlib.util.find_spec("vectordb_bench"):
        return
    _module(
        monkeypatch,
        "vectordb_bench.backend.clients.api",
        VectorDB=VectorDB,
        DBConfig=DBConfig,
        DBCaseConfig=DBCaseConfig,
        MetricType=MetricType,
    )
    _module(monkeypatch, "vectordb_bench.backend.filter", Filter=Filter, FilterOp=FilterOp)
