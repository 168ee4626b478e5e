"""What an engine must offer to be measured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from load.tasks import AsyncSearch
from load.threads import Search
from workload import Floats, Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What every engine is built with.

    Attributes:
        dim: elements of a vector.
        m: links of a graph node.
        ef_construction: candidates kept while a graph is built.
        shards: partitions, for the engines that have them.
        search_threads: threads with which hnswlib and the kernel answer a batch.
        folder: an empty directory for what it stores.
        settings: of the Fanlight cluster, each "section.key=value" as `fanlight up` takes it.
    """

    dim: int
    m: int = 16
    ef_construction: int = 200
    shards: int = 2
    search_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    folder: Path
    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """How long loading took.

    Attributes:
        acknowledged_s: until all rows were taken.
        indexed_s: until searches use a graph for them.
        durable: whether rows taken survive a loss of power.
    """

    acknowledged_s: float
    indexed_s: float
    durable: bool


class Contender(Protocol):
    """An engine that holds vectors; the id of a vector is its row. Made from a `Setup`."""

    @property
    def label(self) -> str:
        """Name it in tables."""
        ...

    def load(self, base: Floats) -> Loaded:
        """Insert all vectors; when it returns, no work on them is left over."""
        ...

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Answer a batch with all cores: (q, k) ids, -1 for none."""
        ...

    def processes(self) -> Mapping[str, int]:
        """Tell the process ids of its servers by name; none when it runs in this process."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@runtime_checkable
class InProcess(Contender, Protocol):
    """An engine that is a library."""

    def search_one(self, query: Floats, k: int, ef: int) -> object:
        """Answer one query, (1, dim), on the calling thread alone. Thread-safe."""
        ...


class Endpoint(Protocol):
    """How to ask a server, with k and ef fixed; it can be pickled."""

    def connect(self) -> AbstractContextManager[Search]:
        """Connect for threads."""
        ...

    def connect_async(self) -> AbstractAsyncContextManager[AsyncSearch]:
        """Connect for tasks."""
        ...


@runtime_checkable
class Server(Contender, Protocol):
    """An engine in processes of its own."""

    def endpoint(self, k: int, ef: int) -> Endpoint:
        """Tell how to ask it."""
        ...
