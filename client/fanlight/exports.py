"""What an export of a collection is made of: for each shard a start, rows, and an end.

Laws: the rows of a shard are its live items as they were at one moment, by ascending id. A shard
whose end never came, or came with an error, is not whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from fanlight.errors import FanlightError, InvalidRequest
from fanlight.model import CollectionInfo, Floats, IdColumn, Rows, parse_payload

# Rows of a message where they are small, so that its fixed cost vanishes.
BATCH_ROWS = 4_096


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Attributes:
        collection: its name.
        shards: indexes of the shards to read; empty for all.
        after: begin after this id; takes exactly one of `shards`. None: from the start.
        batch_rows: rows of a message at the most.
        with_vectors: read the vectors.
        with_payloads: read the payloads.
    """

    collection: str
    shards: tuple[int, ...] = ()
    after: int | str | None = None
    batch_rows: int = BATCH_ROWS
    with_vectors: bool = True
    with_payloads: bool = True

    def __post_init__(self) -> None:
        """Refuse to go on after an id where it is not said on which shard."""
        if self.after is not None and len(self.shards) != 1:
            got = f"{len(self.shards)} of them"
            raise InvalidRequest.of_field("shards", "exactly one shard with `after`", got)


@dataclass(frozen=True, slots=True)
class ExportStart:
    """What a shard exports.

    Attributes:
        shards: shards of its cluster.
        seq: its highest seq at the moment of the export.
        items: rows that follow.
        collection: the collection as the shard knows it.
    """

    shards: int
    seq: int
    items: int
    collection: CollectionInfo


@dataclass(frozen=True, slots=True)
class ExportRows:
    """Items of one shard as columns, by ascending id.

    Attributes:
        ids: (n,) ids.
        seqs: (n,) int64: the seq of each item's last change on its shard.
        vectors: (n, dim) float32, as they were put; None when not asked for.
        payload_blobs: n JSON texts, empty for none; None when not asked for.
        shard: index of the shard.
    """

    ids: IdColumn
    seqs: Rows
    vectors: Floats | None
    payload_blobs: Sequence[bytes] | None
    shard: int = 0

    @property
    def payloads(self) -> list[dict[str, Any] | None] | None:
        """Parse the payloads: one dict (or None) an item; None if not asked for."""
        if self.payload_blobs is None:
            return None
        return [parse_payload(blob) for blob in self.payload_blobs]

    def __len__(self) -> int:
        """Count the items."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """No more rows of a shard; with the reason where some are missing."""

    error: FanlightError | None = None


ExportPart: TypeAlias = ExportStart | ExportRows | ExportEnd
