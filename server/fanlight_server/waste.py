"""What interrupted steps left in a shard's directory of collections, told from what was lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from fanlight.errors import Corruption
from fanlight_server.records import Record
from fanlight_server.storage.database import Database
from fanlight_server.storage.filesystem import LOCAL_FILES, FileSystem


def remove_waste(
    directory: Path, records: Mapping[str, Record], files: FileSystem = LOCAL_FILES
) -> None:
    """Remove what belongs to no live collection.

    Raises:
        Corruption: it holds items that the catalog knows nothing of; nothing was removed.
    """
    found = list(waste(directory, records))
    for path in found:
        if is_lost(path, records):
            raise Corruption(
                f"catalog.db: knows nothing of {path.name}, which holds items: an older file"
            )
    for path in found:
        remove(path, files)


def waste(directory: Path, records: Mapping[str, Record]) -> Iterator[Path]:
    """List what belongs to no live collection."""
    live = {record.directory for record in records.values() if not record.deleted}
    yield from (path for path in sorted(directory.iterdir()) if path.name not in live)


def is_lost(path: Path, records: Mapping[str, Record]) -> bool:
    """Tell whether the catalog should know of a directory: it holds items, and nothing newer.

    A deletion and a newer version are recorded before files are removed, and a collection before
    its first item is written.
    """
    name, _, version = path.name.rpartition("@")
    record = records.get(name)
    if record is not None and version.isdecimal() and record.version >= int(version):
        return False
    items = path / "items.db"
    return items.is_file() and items.stat().st_size > 0 and _holds_items(items)


def _holds_items(path: Path) -> bool:
    """Tell whether a database has items; one that cannot be read may have."""
    try:
        with closing(Database(path)) as db:
            made = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'items'")
            if not made.fetchone()[0]:
                return False
            return db.execute("SELECT 1 FROM items LIMIT 1").fetchone() is not None
    except sqlite3.DatabaseError:
        return True


def remove(path: Path, files: FileSystem = LOCAL_FILES) -> None:
    """Remove a file or a directory."""
    if path.is_dir() and not path.is_symlink():
        files.remove_tree(path)
    else:
        files.unlink(path)
