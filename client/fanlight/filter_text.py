"""Filters as people write them, for explanations: `year >= 1990 & ~(genre == "drama")`."""

from __future__ import annotations

import json

from fanlight.filters import AllOf, AnyOf, Exists, Filter, IsIn, Not, Range, Value

# Of a long list, as many values are shown.
_VALUES_SHOWN = 8
_BOUNDS = (("gte", ">="), ("gt", ">"), ("lte", "<="), ("lt", "<"))


def text_of(filter: Filter) -> str:
    """Write a filter, of which long lists of values are cut. Moments are their microseconds."""
    match filter:
        case AllOf(filters) | AnyOf(filters):
            sign = " & " if isinstance(filter, AllOf) else " | "
            return sign.join(_bracketed(part) for part in filters)
        case Not(inner):
            return f"~{_bracketed(inner)}"
        case IsIn(field, _, (value,)):
            return f"{field} == {_value(value)}"
        case IsIn(field, _, values):
            shown = [_value(value) for value in values[:_VALUES_SHOWN]]
            more = [f"{len(values) - _VALUES_SHOWN:,} more"] if len(values) > _VALUES_SHOWN else []
            return f"{field} is in {', '.join([*shown, *more])}"
        case Range():
            bounds = [(sign, getattr(filter, name)) for name, sign in _BOUNDS]
            shown = [f"{sign} {bound}" for sign, bound in bounds if bound is not None]
            return f"{filter.field} {' and '.join(shown)}"
        case Exists(field):
            return f"{field} exists"
    raise TypeError(f"a {type(filter).__name__} is no filter")


def _bracketed(filter: Filter) -> str:
    text = text_of(filter)
    return text if isinstance(filter, Not) else f"({text})"


def _value(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)
