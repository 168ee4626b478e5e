"""What a check found: values, and how they read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        file: as it is called under the data directory.
        problem: what is wrong with it, a phrase for people.
        remedy: what helps: "rebuild" (derived data, `--repair` rebuilds it), "drop" (acknowledged
            rows are damaged, `--drop-damaged-rows` gives them up) or "restore" (nothing here does:
            a snapshot or a replica).
        ids: the items it costs, as far as they are known.
        repaired: whether it was put right.
    """

    file: str
    problem: str
    remedy: str
    ids: tuple[Any, ...] = ()
    repaired: bool = False


@dataclass(slots=True)
class Found:
    """What was found of one collection.

    Attributes:
        name: of the collection.
        version: of the collection.
        format: version of its items.db; 0 when that cannot be read.
        items: live rows.
        deleted: rows of deleted items.
        last_seq: the highest seq written.
        files: how many files were checked.
        bytes: their size.
        segments: how many segments are listed.
        findings: what is wrong.
    """

    name: str
    version: int
    format: int = 0
    items: int = 0
    deleted: int = 0
    last_seq: int = 0
    files: int = 0
    bytes: int = 0
    segments: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What was found in a data directory.

    Attributes:
        directory: the directory.
        shard: whose it is, for people; "" when nobody knows.
        findings: of the directory and of catalog.db.
        collections: of the collections, by name.
    """

    directory: str
    shard: str = ""
    findings: list[Finding] = field(default_factory=list)
    collections: list[Found] = field(default_factory=list)

    @property
    def all_findings(self) -> list[Finding]:
        """List all findings."""
        return [*self.findings, *(f for found in self.collections for f in found.findings)]

    @property
    def sound(self) -> bool:
        """Tell whether nothing is wrong, any more."""
        return all(finding.repaired for finding in self.all_findings)

    def as_json(self) -> dict[str, Any]:
        """Turn it into JSON values."""
        return {"sound": self.sound, **asdict(self)}

    def text(self) -> str:
        """Write it for people."""
        lines = [f"{self.directory}: {self.shard or 'a shard that nobody can name'}", ""]
        row = "{:<32} {:>6} {:>12} {:>12} {:>9} {:>6} {:>14}".format
        if self.collections:
            lines.append(
                row("collection", "format", "items", "deleted", "segments", "files", "bytes")
            )
        for found in self.collections:
            numbers = (found.items, found.deleted, found.segments, found.files, found.bytes)
            name = f"{found.name}@{found.version}"
            lines.append(row(name, found.format, *(f"{number:,}" for number in numbers)))
        findings = self.all_findings
        lines += ["", *map(_line, findings)] if findings else []
        lines += ["", _verdict(findings)]
        return "\n".join(lines)


_IDS_SHOWN = 20
_REMEDIES = {
    "rebuild": "derived data: --repair rebuilds it",
    "drop": "acknowledged rows: --repair --drop-damaged-rows gives them up",
    "restore": "restore it from a snapshot or a replica",
}


def _line(finding: Finding) -> str:
    state = "repaired" if finding.repaired else _REMEDIES[finding.remedy]
    line = f"{finding.file}: {finding.problem} ({state})"
    if not finding.ids:
        return line
    shown = ", ".join(map(repr, finding.ids[:_IDS_SHOWN]))
    more = len(finding.ids) - _IDS_SHOWN
    return f"{line}\n  ids: {shown}" + (f" and {more} more" if more > 0 else "")


def _verdict(findings: list[Finding]) -> str:
    left = sum(not finding.repaired for finding in findings)
    if not findings:
        return "sound"
    return (
        f"{len(findings)} findings, {len(findings) - left} repaired"
        if not left
        else (
            f"{left} findings"
            + (f", {len(findings) - left} repaired" if left < len(findings) else "")
        )
    )
