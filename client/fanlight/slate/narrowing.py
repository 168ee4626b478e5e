"""Which candidates can still be chosen, as far as a filter can say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fanlight.errors import InvalidRequest
from fanlight.filter_rules import check_filter
from fanlight.filters import AllOf, AnyOf, FieldType, Filter, IsIn, Not, Value
from fanlight.limits import Limits
from fanlight.queries import Slate
from fanlight.slate.reading import Counted
from fanlight.slate.shortlist import Shortlist

# JSON types of the values that a declared field can be compared with. A moment is text in a payload
# and a number in a filter; nobody caps the hits of one microsecond.
_COMPARABLE: Mapping[FieldType, tuple[type, ...]] = {
    FieldType.KEYWORD: (str,),
    FieldType.INT: (int,),
    FieldType.FLOAT: (int, float),
    FieldType.BOOL: (bool,),
}


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Which candidates are left out, since no rule lets them in.

    Attributes:
        full: values that have reached a cap, by field; their items are left out.
        floors: only items that help one of these floors are in; None for all items.
    """

    full: frozenset[tuple[str, Counted]] = frozenset()
    floors: frozenset[int] | None = None

    def shows(self, floors: frozenset[int] | None) -> bool:
        """Tell whether it leaves out nothing that could still be chosen for the same list.

        A value that has reached a cap stays full, so only the floors can have changed.

        Args:
            floors: only items that help one of these matter now; None for all items.
        """
        return self.floors is None or (floors is not None and floors <= self.floors)


def narrowing_of(
    shortlist: Shortlist,
    slate: Slate,
    floors: frozenset[int] | None,
    filterable: Mapping[str, FieldType],
) -> Narrowing:
    """Tell what can be left out now, if only items that help these floors matter."""
    declared = [filterable.get(rule.field) for rule in slate.caps]
    types = [() if type_ is None else _COMPARABLE.get(type_, ()) for type_ in declared]
    full = (
        (slate.caps[cap].field, value)
        for cap, value in shortlist.full
        if type(value[1]) in types[cap]
    )
    return Narrowing(frozenset(full), floors)


def narrowed(
    filter: Filter | None,
    narrowing: Narrowing,
    slate: Slate,
    filterable: Mapping[str, FieldType],
    limits: Limits,
) -> Filter | None:
    """Add a narrowing to a filter; None when the limits allow no such filter."""
    parts = [] if filter is None else [filter]
    if narrowing.floors is not None:
        floors = tuple(slate.floors[floor].filter for floor in sorted(narrowing.floors))
        parts.append(floors[0] if len(floors) == 1 else AnyOf(floors))
    for field in sorted({field for field, _ in narrowing.full}):
        values = (value for name, (_, value) in narrowing.full if name == field)
        parts.append(Not(_is_in(field, filterable[field], values)))
    whole = parts[0] if len(parts) == 1 else AllOf(tuple(parts))
    try:
        check_filter(whole, limits)
    except InvalidRequest:
        return None
    return whole


def _is_in(field: str, type_: FieldType, values: Iterable[Value]) -> IsIn:
    typed = (float(value) if type_ is FieldType.FLOAT else value for value in values)
    return IsIn(field, type_, tuple(sorted(set(typed))))
