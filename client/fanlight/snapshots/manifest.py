"""The manifest of a snapshot: what it holds, and the checksum of every file.

Laws: the manifest is written last, so a place without one holds no whole snapshot. It has one
form in bytes for one content, and a checksum of its own, so no change of it goes unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from fanlight.errors import Corruption, InvalidRequest
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, IdType, Metric

FILE_NAME = "manifest.json"
FORMAT = "fanlight-snapshot"
FORMAT_VERSION = 1
# A million files of 512 MiB, and far below what JSON takes to hurt.
BYTES_MAX = 256 << 20

_DATA_FILE = re.compile(r"shard-\d{4}-\d{5}\.parquet")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One data file.

    Attributes:
        name: its name beside the manifest.
        shard: index of the shard that its items come from.
        items: its rows.
        bytes: its size.
        sha256: of its bytes, in hexadecimal.
    """

    name: str
    shard: int
    items: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard of the cluster that the snapshot was taken from.

    Attributes:
        index: its place in the shard map.
        seq: its highest seq at the moment that its items are of.
        items: how many they are.
    """

    index: int
    seq: int
    items: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot holds.

    Attributes:
        created: when it was finished, in ISO 8601, UTC.
        made_by: the version of Fanlight that wrote it.
        spec: the collection.
        collection_version: the collection's version in its cluster.
        shards: of that cluster, by index.
        files: by name.
    """

    created: str
    made_by: str
    spec: CollectionSpec
    collection_version: int
    shards: tuple[ShardEntry, ...]
    files: tuple[FileEntry, ...]

    @property
    def items(self) -> int:
        """Count the items."""
        return sum(shard.items for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Add up the sizes of the data files."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was taken.

    Attributes:
        place: where it is.
        manifest: what it holds.
        repeats: how often a shard had to be read again.
    """

    place: str
    manifest: Manifest
    repeats: int = 0

    @property
    def items(self) -> int:
        """Count its items."""
        return self.manifest.items


def dumps(manifest: Manifest) -> bytes:
    """Write a manifest: the one form that `parse` takes."""
    spec = manifest.spec
    default = {} if spec.ef_search is None else {"ef_search": spec.ef_search}
    body = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created": manifest.created,
        "made_by": manifest.made_by,
        "collection": {
            "name": spec.name,
            "dim": spec.dim,
            "metric": spec.metric.value,
            "id_type": spec.id_type.value,
            "m": spec.m,
            "ef_construction": spec.ef_construction,
            "filterable": {name: type_.value for name, type_ in spec.filterable.items()},
            **default,
        },
        "collection_version": manifest.collection_version,
        "shards": [asdict(shard) for shard in manifest.shards],
        "files": [asdict(file) for file in manifest.files],
    }
    checksum = hashlib.sha256(_text(body)).hexdigest()
    return _text(body | {"manifest_sha256": checksum})


def _text(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode("ascii")


def parse(blob: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        InvalidRequest: it is of a newer format; names both versions.
        Corruption: it is damaged, or no manifest.
    """
    try:
        stored = json.loads(blob)
        found, version = stored["format"], stored["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise Corruption(f"{FILE_NAME}: it is damaged, or no manifest of a snapshot") from error
    if found != FORMAT or not isinstance(version, int) or version < 1:
        raise Corruption(f"{FILE_NAME}: it is damaged, or no manifest of a snapshot")
    if version > FORMAT_VERSION:
        raise InvalidRequest(
            f"{FILE_NAME}: the snapshot has format version {version}, and this version of "
            f"Fanlight reads up to {FORMAT_VERSION}"
        )
    try:
        manifest = _manifest(stored)
        whole = dumps(manifest) == blob and _adds_up(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corruption(f"{FILE_NAME}: it is damaged") from error
    if not whole:
        raise Corruption(f"{FILE_NAME}: it fails its checksum")
    return manifest


def _manifest(stored: dict[str, Any]) -> Manifest:
    spec = dict(stored["collection"])
    spec["metric"], spec["id_type"] = Metric(spec["metric"]), IdType(spec["id_type"])
    spec["filterable"] = {n: FieldType(type_) for n, type_ in spec["filterable"].items()}
    return Manifest(
        created=stored["created"],
        made_by=stored["made_by"],
        spec=CollectionSpec(**spec),
        collection_version=stored["collection_version"],
        shards=tuple(ShardEntry(**shard) for shard in stored["shards"]),
        files=tuple(FileEntry(**file) for file in stored["files"]),
    )


def _adds_up(manifest: Manifest) -> bool:
    """Tell whether names stay in their place and the files hold what the shards had."""
    held = dict.fromkeys(range(len(manifest.shards)), 0)
    for file in manifest.files:
        if not (_DATA_FILE.fullmatch(file.name) and _SHA256.fullmatch(file.sha256)):
            return False
        held[file.shard] += file.items
    names = {file.name for file in manifest.files}
    return len(names) == len(manifest.files) and held == {
        shard.index: shard.items for shard in manifest.shards
    }
