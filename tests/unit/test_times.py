"""Fields of moments: text with an offset in payloads, datetimes in filters, microseconds within."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from tests.pieces import floats
from tests.query.cores import cores

from fanlight import F
from fanlight.errors import InvalidRequest
from fanlight.fields import read_fields
from fanlight.filters import FieldType, IsIn, Range, microseconds
from fanlight.inputs import as_payload_blobs
from fanlight.model import ItemBatch

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
TIMES = {"t": FieldType.TIME}


def test_a_moment_is_microseconds() -> None:
    """Exactly, before 1970 too, and whatever the offset."""
    assert microseconds(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)) == 1_000_005
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1_000_000
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert (F("t") >= there) == Range("t", gte=microseconds(NOON))
    assert (F("t") == NOON) == IsIn("t", FieldType.INT, (microseconds(NOON),))
    with pytest.raises(InvalidRequest, match="offset"):
        _ = F("t") < NOON.replace(tzinfo=None)


def test_what_a_payload_may_hold() -> None:
    """RFC 3339 text with an offset, or a list; everything else is refused by name."""
    for text in ("2026-11-29T12:00:00Z", "2026-11-29T13:00:00+01:00", "2026-11-29T12:00:00.000Z"):
        assert read_fields({"t": text}, TIMES) == {"t": [microseconds(NOON)]}
    assert (
        len(read_fields({"t": ["2026-11-29T12:00:00Z", "2026-11-30T12:00:00Z"]}, TIMES)["t"]) == 2
    )
    for bad in ("noon", "2026-11-29T12:00:00", 1_764_417_600, True, {"at": 1}):
        with pytest.raises(InvalidRequest, match=r"payloads\.t: expected RFC 3339"):
            read_fields({"t": bad}, TIMES)


@pytest.mark.parametrize("shards", [1, 3])
def test_moments_filter(tmp_path: Path, shards: int) -> None:
    """A range of moments counts what falls into it, and survives a start."""
    moments = [NOON + timedelta(minutes=i) for i in range(50)]
    filter = F("t").range(gt=NOON + timedelta(minutes=9), lte=NOON + timedelta(minutes=20))
    with cores(tmp_path, shards, dim=3, filterable=TIMES) as opened:
        opened.put(np.arange(50), floats(1, 50, 3), [{"t": moment} for moment in moments])
        assert sum(c.count(filter) for c in opened.collections) == 11
        assert sum(c.count(F("t") == NOON) for c in opened.collections) == 1
        with pytest.raises(InvalidRequest, match="moments"):
            opened.collections[0].count(F("t") == "2026-11-29T12:00:00Z")
        blobs = as_payload_blobs([{"t": "soon"}])
        refused = opened.collections[0].upsert(ItemBatch(np.arange(1), floats(1, 1, 3), blobs))
        assert [error.row for error in refused.result(30).errors] == [0]
    with cores(tmp_path, shards, dim=3, filterable=TIMES, create=False) as opened:
        assert sum(c.count(filter) for c in opened.collections) == 11
