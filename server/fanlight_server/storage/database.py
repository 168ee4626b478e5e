"""Connections to SQLite whose errors are all SQLite's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Database(sqlite3.Connection):
    """A connection to a database that may be damaged.

    SQLite quotes a damaged schema in its message, whatever bytes it has there. Python's module decodes
    messages strictly, so its error would be none of SQLite's (found by mutated databases).
    """

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        """Run a statement, see `sqlite3.Connection.execute`."""
        with _whatever_it_quotes():
            return super().execute(*statement)

    def executemany(self, *statement: Any) -> sqlite3.Cursor:
        """Run a statement for each row, see `sqlite3.Connection.executemany`."""
        with _whatever_it_quotes():
            return super().executemany(*statement)

    def executescript(self, *script: Any) -> sqlite3.Cursor:
        """Run statements, see `sqlite3.Connection.executescript`."""
        with _whatever_it_quotes():
            return super().executescript(*script)


@contextmanager
def _whatever_it_quotes() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError("an error that quotes what is no text") from error
