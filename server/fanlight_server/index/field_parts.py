"""Fields as the parts of a segment file, and back; see docs/format.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import Corruption
from fanlight.filters import FieldType
from fanlight_server.index.columns import Postings
from fanlight_server.index.fields import Fields, KeptBitmaps
from fanlight_server.index.intervals import KEY_DTYPES
from fanlight_server.index.keywords import Keywords


def to_parts(fields: Fields) -> dict[str, NDArray[Any]]:
    """Give the arrays of the fields of a segment, by the name of the part."""
    parts: dict[str, NDArray[Any]] = {}
    for number, name in enumerate(sorted(fields.columns)):
        column = fields.columns[name]
        assert isinstance(column, Postings)
        if column.keywords is None:
            parts[f"field{number}_keys"] = column.keys
        else:
            parts[f"field{number}_key_offsets"] = column.keywords.offsets
            parts[f"field{number}_key_bytes"] = column.keywords.data
        parts[f"field{number}_bounds"] = column.bounds
        parts[f"field{number}_rows"] = column.rows
    return parts


def from_parts(
    filterable: Mapping[str, FieldType], parts: Mapping[str, NDArray[np.uint8]], rows: int
) -> Fields:
    """Read the fields of a segment from the bytes of its parts.

    Raises:
        Corruption: the parts contradict each other.
        KeyError: a part is missing.
        ValueError: a part is no array of its type.
    """
    columns = {
        name: _column(filterable[name], rows, parts, number)
        for number, name in enumerate(sorted(filterable))
    }
    return Fields(rows, columns, KeptBitmaps())


def _column(
    type_: FieldType, n: int, parts: Mapping[str, NDArray[np.uint8]], number: int
) -> Postings:
    bounds = parts[f"field{number}_bounds"].view("<u8")
    rows = parts[f"field{number}_rows"].view("<u4")
    keywords = None
    if type_ is FieldType.KEYWORD:
        offsets = parts[f"field{number}_key_offsets"].view("<u8")
        keywords = Keywords(offsets, parts[f"field{number}_key_bytes"])
        keys = np.arange(len(keywords), dtype="<i8")
        sound = len(offsets) > 0 and offsets[-1] == len(keywords.data)
    else:
        keys = parts[f"field{number}_keys"].view(KEY_DTYPES[type_])
        sound = True
    if not sound or len(bounds) != len(keys) + 1 or bounds[-1] != len(rows):
        raise Corruption("the parts of a field contradict each other")
    return Postings(type_, n, keys, bounds, rows, keywords)
