"""How the command line shows the answer to a search, and an explanation of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.text import Text

from fanlight.cli.show import coverage_as_json, note_coverage, out, show_json, show_note, table
from fanlight.model import Explanation, Hits


def show_hits(hits: Hits, *, as_json: bool) -> None:
    """Show the hits of one query."""
    if as_json:
        show_json(_as_json(hits))
        return
    payloads = hits.payload_blobs is not None
    made = table("#", "Id", "Score", *(["Payload"] if payloads else []), right=("#", "Score"))
    for rank, hit in enumerate(_rows(hits), 1):
        cells: list[str | Text] = [str(rank), Text(str(hit["id"])), f"{hit['score']:.4f}"]
        if payloads:
            cells.append(Text(json.dumps(hit["payload"], ensure_ascii=False)))
        made.add_row(*cells)
    out.print(made)
    if hits.excluded is not None:
        show_note(f"Excluded: {hits.excluded:,} items that the search could have found.")
    if 0 in hits.missing_ids:
        missing = ", ".join(map(str, hits.missing_ids[0].tolist()))
        show_note(f"Examples that are no items, and did not count: {missing}.")
    for rule in hits.unmet.get(0, ()):
        show_note(f"Not met: {rule}")
    note_coverage(hits.coverage)


def _as_json(hits: Hits) -> dict[str, Any]:
    return {
        "hits": _rows(hits),
        "excluded": hits.excluded,
        "missing_ids": hits.missing_ids[0].tolist() if 0 in hits.missing_ids else [],
        "unmet": list(hits.unmet.get(0, ())),
        "coverage": coverage_as_json(hits.coverage),
    }


def _rows(hits: Hits) -> list[dict[str, Any]]:
    count = int(hits.counts[0])
    found = zip(hits.ids[0, :count].tolist(), hits.scores[0, :count].tolist(), strict=True)
    rows: list[dict[str, Any]] = [{"id": item, "score": score} for item, score in found]
    if hits.payloads is not None:
        for hit, payload in zip(rows, hits.payloads[0], strict=True):
            hit["payload"] = payload
    return rows


def show_explanation(item: int | str, why: Explanation, *, as_json: bool) -> None:
    """Show why an item is, or is not, among the hits."""
    if as_json:
        show_json({"id": item, "found": why.found, **_explanation_as_json(why)})
        return
    if why.exists:
        _show_standing(item, why)
    else:
        out.print(f"There is no item {item}.", markup=False)
    if why.outcomes:
        made = table("Rule", "Passes")
        for outcome in why.outcomes:
            passes = Text("yes", style="green") if outcome.passes else Text("no", style="red")
            made.add_row(Text(outcome.rule), passes)
        out.print(made)
    note_coverage(why.coverage)


def _explanation_as_json(why: Explanation) -> dict[str, Any]:
    shown: dict[str, Any] = {name: getattr(why, name) for name in _OF_EXPLANATION}
    if not why.exists:
        shown |= dict.fromkeys(_OF_ITEM)
    outcomes = [asdict(outcome) for outcome in why.outcomes]
    return shown | {"outcomes": outcomes, "coverage": coverage_as_json(why.coverage)}


# What an explanation says of an item that exists, and what it says of any.
_OF_ITEM = ("score", "rank", "rank_allowed", "interest", "shard", "segment", "seq")
_OF_EXPLANATION = ("exists", "place", "last_score", *_OF_ITEM)


def _show_standing(item: int | str, why: Explanation) -> None:
    place = "not found" if why.place is None else f"hit {why.place + 1}"
    out.print(f"Item {item}: {place}", markup=False, style="bold")
    made = table("", "")
    made.show_header = False
    made.add_row("score", f"{why.score:.4f}")
    made.add_row("last hit's score", "-" if why.last_score is None else f"{why.last_score:.4f}")
    made.add_row("rank of all items", f"{why.rank:,}")
    made.add_row("rank of those that may be found", f"{why.rank_allowed:,}")
    where = why.segment or "the newest part, not in a segment yet"
    made.add_row("stored", Text(f"{why.shard}, {where}, seq {why.seq}"))
    out.print(made)
