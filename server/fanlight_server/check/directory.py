"""Checks and repairs the data directory of a shard that does not run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from fanlight.errors import Corruption
from fanlight.placement import ShardIdentity
from fanlight_server import records
from fanlight_server.check import repair
from fanlight_server.check.items import ItemsCheck, opened
from fanlight_server.check.report import Finding, Found, Report
from fanlight_server.check.segments import SegmentsCheck
from fanlight_server.records import UNMARKED, Record
from fanlight_server.storage import header, log_check, marks
from fanlight_server.storage.files import DirectoryLock
from fanlight_server.storage.marks import Expected, Owner, Pin
from fanlight_server.waste import is_lost, remove, waste


class NoDataDirectory(Exception):
    """The directory is not that of a shard."""


def check(directory: Path) -> Report:
    """Read all of a data directory, and change nothing but its LOCK.

    All ids of the largest collection are held in memory, about 150 bytes each.

    Raises:
        DirectoryInUse: a server runs there; names its pid.
        NoDataDirectory: it is no data directory.
    """
    return _locked(directory, lambda: _Check(directory).report)


def check_and_repair(directory: Path, *, drop_damaged_rows: bool = False) -> Report:
    """Check a data directory, put right what can be, and check again.

    What is derived is removed, so that a start rebuilds it, or made anew from the rows.

    Args:
        directory: the data directory.
        drop_damaged_rows: give up acknowledged rows that cannot be read; the report names them.

    Returns:
        What was found first, and of each finding whether it is gone; then what is left or new.

    Raises:
        DirectoryInUse, NoDataDirectory: see `check`.
    """

    def work() -> Report:
        before = _Check(directory)
        before.repair(drop_damaged_rows)
        return _compared(before.report, _Check(directory).report)

    return _locked(directory, work)


def _locked(directory: Path, work: Callable[[], Report]) -> Report:
    if not directory.is_dir() or not (
        (directory / "catalog.db").exists() or (directory / "collections").exists()
    ):
        raise NoDataDirectory(f"{directory}: is no data directory of a shard")
    lock = DirectoryLock(directory)
    try:
        return work()
    finally:
        lock.release()


class _Check:
    """One pass over a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.report = Report(str(directory))
        self._records: Mapping[str, Record] = {}
        self._identity = ShardIdentity("", 0, 1)
        self._generation = 0
        self._damaged: dict[str, list[str]] = {}
        self._items: dict[str, ItemsCheck] = {}
        if self._catalog():
            for name, record in sorted(self._records.items()):
                if not record.deleted:
                    self._collection(name, record)
            self._waste()

    def _report(self, file: str, problem: str, remedy: str) -> None:
        self.report.findings.append(Finding(file, problem, remedy))

    def _catalog(self) -> bool:
        """Read catalog.db; tell whether it could be."""
        path = self._directory / "catalog.db"
        if not path.exists() or not path.stat().st_size:
            self._report(path.name, "is missing or empty", "restore")
            return False
        try:
            header.check(path)
            log_check.check(path)
            with opened(path) as db:
                self._read_catalog(db)
        except Corruption as error:
            self._report(path.name, error.message, "restore")
        except (sqlite3.DatabaseError, TypeError, ValueError) as error:
            self._report(path.name, f"cannot be read: {error}", "restore")
        return not self.report.findings

    def _read_catalog(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        records.check_format(version)
        if version == 1:
            self._records = records.read_1(db)
        else:
            found = records.read(db)
            self._generation, self._records = found.generation, found.records
        cluster, index, count = db.execute("SELECT cluster, shard, shards FROM identity").fetchone()
        self._identity = ShardIdentity(cluster, index, count)
        self.report.shard = f"shard {index} of {count} of cluster {cluster!r}"

    def expected(self, record: Record) -> Expected:
        """Tell what the items.db of a collection must be."""
        owner = Owner.of(self._identity, record.spec.name, record.version, record.uuid)
        old, least = record.last_seq == UNMARKED, max(0, record.last_seq)
        return Expected(owner, least, old, self._generation)

    def _collection(self, name: str, record: Record) -> None:
        found = Found(name, record.version)
        self.report.collections.append(found)
        directory = self._directory / "collections" / record.directory
        if not directory.is_dir():
            file = f"collections/{record.directory}"
            found.findings.append(Finding(file, "is missing", "restore"))
            return
        path = directory / "items.db"
        items = ItemsCheck(path, record.spec, self.expected(record), found)
        self._items[name] = items
        segments = SegmentsCheck(directory, record.spec, items.contents, found)
        self._damaged[name] = segments.damaged
        self._pin(path)

    def _pin(self, path: Path) -> None:
        try:
            with opened(path) as db:
                pin = marks.read(db, Pin).generation
        except (Corruption, sqlite3.DatabaseError):
            return  # format version 1 has none, and damage was found before
        if pin > self._generation:
            problem = f"is an older file: at generation {self._generation}, was known at {pin}"
            self._report("catalog.db", problem, "restore")

    def _waste(self) -> None:
        for path in waste(self._directory / "collections", self._records):
            file = f"collections/{path.name}"
            if is_lost(path, self._records):
                self._report("catalog.db", f"is an older file: knows nothing of {file}", "restore")
            else:
                self._report(file, "belongs to nothing", "rebuild")

    def repair(self, drop_damaged_rows: bool) -> None:
        """Put right what can be."""
        for finding in self.report.findings:
            if finding.remedy == "rebuild":
                remove(self._directory / finding.file)
        for found in self.report.collections:
            if found.name in self._items:
                self._repair(found, drop_damaged_rows)

    def _repair(self, found: Found, drop: bool) -> None:
        record = self._records[found.name]
        directory = self._directory / "collections" / record.directory
        items = [f for f in found.findings if f.file.endswith("/items.db")]
        remedies = {finding.remedy for finding in items}
        contents = self._items[found.name].contents
        if remedies == {"rebuild"} or (drop and remedies and "restore" not in remedies):
            repair.rewrite(directory, record.spec, self.expected(record), contents)
        elif items:
            return  # what derives from a store that is not whole is better left alone
        if self._damaged[found.name]:
            repair.drop_segments(directory / "items.db", self._damaged[found.name])
        for finding in found.findings:
            if finding.problem == "belongs to nothing":
                remove(self._directory / finding.file)


def _compared(before: Report, after: Report) -> Report:
    """Tell of what was found first whether it is gone."""
    left = {(finding.file, finding.problem) for finding in after.all_findings}

    def told(findings: list[Finding], now: list[Finding]) -> list[Finding]:
        known = {(finding.file, finding.problem) for finding in findings}
        seen = [replace(f, repaired=(f.file, f.problem) not in left) for f in findings]
        return seen + [f for f in now if (f.file, f.problem) not in known]

    after.findings = told(before.findings, after.findings)
    earlier = {found.name: found.findings for found in before.collections}
    for found in after.collections:
        found.findings = told(earlier.get(found.name, []), found.findings)
    return after
