"""Snapshots of collections: written under load, restored to any number of shards.

Needs pyarrow (`pip install 'fanlight[snapshots]'`), and obstore for object stores
(`fanlight[objects]`). The format is in docs/snapshots.md.
"""

from fanlight.snapshots.manifest import FORMAT_VERSION, FileEntry, Manifest, ShardEntry, Snapshot
from fanlight.snapshots.restoring import restore
from fanlight.snapshots.taking import take
from fanlight.snapshots.verifying import verified

__all__ = [
    "FORMAT_VERSION",
    "FileEntry",
    "Manifest",
    "ShardEntry",
    "Snapshot",
    "restore",
    "take",
    "verified",
]
