"""Shards in a directory, with indexes so small that they are rebuilt all the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fanlight.limits import Limits
from fanlight.model import CollectionSpec
from fanlight.placement import ShardIdentity
from fanlight_server.catalog import Catalog
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.storage.disk import Disk

# A head of 64 rows, the least there is; it is sealed as soon as nothing was written for a moment.
BUSY = IndexConfig(
    head_bytes=4_096, unindexed_bytes=1 << 20, build_threads=1, idle_s=0.02, idle_rows_min=20
)
# The builder never finds the head idle.
LAZY = IndexConfig(head_bytes=4_096, unindexed_bytes=1 << 20, build_threads=1, idle_s=86_400.0)
# Nothing that is in the head gets a graph.
STILL = IndexConfig(build_threads=1, idle_s=86_400.0)

OpenCatalog = Callable[..., Catalog]
OpenCollection = Callable[..., Collection]


@pytest.fixture
def open_catalog(tmp_path: Path) -> Iterator[OpenCatalog]:
    """Give `open_catalog(index=BUSY, ...)` over one data directory; all are closed at the end."""
    with ExitStack() as stack:

        def open_(
            index: IndexConfig = BUSY,
            *,
            directory: Path = tmp_path / "data",
            identity: ShardIdentity = ShardIdentity("test", 0, 1),  # noqa: B008  frozen
            limits: Limits = Limits(),
            now: Callable[[], float] = time.monotonic,
            disk: Disk | None = None,
        ) -> Catalog:
            search = SearchConfig(threads=1)
            catalog = Catalog(directory, identity, limits, index, search, now, disk)
            stack.callback(catalog.close)
            return catalog

        yield open_


@pytest.fixture
def open_collection() -> Iterator[OpenCollection]:
    """Give `open_collection(path, spec, config)`: without a catalog, so nobody builds but the test."""
    with ExitStack() as stack:

        def open_(
            path: Path,
            spec: CollectionSpec,
            config: IndexConfig,
            *,
            create: bool = False,
            disk: Disk | None = None,
        ) -> Collection:
            search = SearchConfig(threads=1)
            collection = Collection(
                path, spec, 1, Limits(), config, search, disk=disk, create=create
            )
            stack.callback(collection.close)
            return collection

        yield open_
