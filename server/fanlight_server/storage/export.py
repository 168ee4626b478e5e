"""All live items of a store as they were at one moment.

Law: an export is a read transaction on a connection of its own. In SQLite's WAL mode it holds up
no writer and sees none of them; but as long as it lasts the log of the writes since then cannot
be cut, so whoever opens one must bound its time.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fanlight.errors import DeadlineExceeded

if TYPE_CHECKING:
    from fanlight_server.storage.rows import Row
    from fanlight_server.storage.stored import StoredItem


class StoreExport:
    """See the module. Items are taken by one thread at a time; any thread may close it.

    Attributes:
        seq: highest seq of the store at the moment.
        items: live items (after the id it begins with, if there is one) at the moment.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        columns: str,
        checked: Callable[[Iterable[Row]], Iterator[StoredItem]],
        after: Any,
    ) -> None:
        """Take the moment.

        Args:
            db: a connection, owned from now on.
            columns: the columns of a row.
            checked: compares rows with their checksums, and drops deleted ones; raises as a read
                of the store does.
            after: begin after this id; None for the start.
        """
        condition, parameters = ("", []) if after is None else ("AND id > ?", [after])
        self._db = db
        self._lock = threading.Lock()  # held while items are taken, and while it is released
        self._released = False
        self._closed = threading.Event()
        db.execute("BEGIN")
        self.seq = int(db.execute("SELECT coalesce(max(seq), 0) FROM items").fetchone()[0])
        counting = f"SELECT count(*) FROM items WHERE deleted = 0 {condition}"
        self.items = int(db.execute(counting, parameters).fetchone()[0])
        query = f"SELECT {columns} FROM items WHERE TRUE {condition} ORDER BY id"
        self._cursor = db.execute(query, parameters)
        self._rows = checked(self._cursor)

    def take(self, rows: int, size: int) -> list[StoredItem]:
        """Read the next items, by ascending id.

        Args:
            rows: at the most; at least 1.
            size: bytes of vectors and payloads after which no more is taken.

        Returns:
            At least one item; none at the end.

        Raises:
            Corruption: a row fails its checksum.
            DeadlineExceeded: it was closed.
        """
        try:
            with self._lock:
                taken = self._taken(rows, size)
        finally:
            self._close_if_asked()
        if self._closed.is_set():
            raise DeadlineExceeded("the export was ended before all items were read")
        return taken

    def _taken(self, rows: int, size: int) -> list[StoredItem]:
        taken: list[StoredItem] = []
        while len(taken) < rows and size > 0 and not self._closed.is_set():
            item = next(self._rows, None)
            if item is None:
                break
            taken.append(item)
            size -= len(item.vector) + len(item.payload)
        return taken

    def close(self) -> None:
        """End the transaction; at once, or when the items that are being taken are. Idempotent."""
        self._closed.set()
        self._close_if_asked()

    def _close_if_asked(self) -> None:
        if self._closed.is_set() and self._lock.acquire(blocking=False):
            try:
                # First the cursor: SQLite keeps a connection, and its moment, for as long as a
                # statement of it is under way.
                if not self._released:
                    self._cursor.close()
                    self._db.close()
                self._released = True
            finally:
                self._lock.release()
