"""What the rules read of items, worked out once for all lists whose candidates they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fanlight.filters import FieldType, Value
from fanlight.hits import rows_by_id
from fanlight.matching import accepts, read_values
from fanlight.model import Floats, Items, parse_payload
from fanlight.queries import Slate
from fanlight.vectors import lengths_of

Doubles: TypeAlias = NDArray[np.float64]
# A value that a cap counts, and whether it is a boolean: 1 and true are two values.
Counted: TypeAlias = tuple[bool, Value]


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What rules look at of an item.

    Attributes:
        capped: for each cap the values that it counts.
        helps: for each floor whether it counts the item.
        unit: (dim,) float64: the vector scaled to length 1, NaN where it is gone; None when no
            rule compares vectors.
    """

    capped: tuple[list[Counted], ...] = ()
    helps: tuple[bool, ...] = ()
    unit: Doubles | None = None


class Reading:
    """Items that were read for the rules of a search."""

    def __init__(self, items: Items, slate: Slate, filterable: Mapping[str, FieldType]) -> None:
        """Take items that were read.

        Args:
            items: those that exist, with the columns that the rules need.
            slate: the rules.
            filterable: the fields that floors can use.
        """
        self._slate = slate
        self._filterable = filterable
        self._row_of = rows_by_id(items.ids)
        self._blobs = items.payload_blobs
        self._units = None if items.vectors is None else units_of(items.vectors)
        self._traits: dict[object, Traits] = {}

    def traits(self, value: object) -> Traits:
        """Give what the rules look at of an item, which may be gone."""
        known = self._traits.get(value)
        if known is None:
            known = self._traits[value] = self._read(self._row_of.get(value))
        return known

    def _read(self, row: int | None) -> Traits:
        caps, floors = self._slate.caps, self._slate.floors
        payload = None if row is None or self._blobs is None else parse_payload(self._blobs[row])
        fields = read_values(payload, self._filterable) if floors else {}
        return Traits(
            tuple(listed((payload or {}).get(cap.field)) for cap in caps),
            tuple(accepts(floor.filter, fields) for floor in floors),
            self._unit(row),
        )

    def _unit(self, row: int | None) -> Doubles | None:
        if self._units is None:
            return None
        return np.full(self._units.shape[1], np.nan) if row is None else self._units[row]


def units_of(vectors: Floats) -> Doubles:
    """Scale vectors to length 1; a zero vector is like nothing."""
    lengths = lengths_of(vectors)
    with np.errstate(invalid="ignore", divide="ignore"):
        units: Doubles = vectors.astype(np.float64) / lengths[:, None]
    return units


def listed(value: object) -> list[Counted]:
    """List the distinct values of a field; what is no plain value is none."""
    values = value if isinstance(value, list) else [value]
    plain = (v for v in values if isinstance(v, (str, int, float)))
    return list(dict.fromkeys((type(v) is bool, v) for v in plain))
