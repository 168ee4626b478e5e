"""Make Fanlight one of VectorDBBench's databases, without a change to its files.

VectorDBBench knows its databases by the members of an enumeration, and has no way to add one
(as of 2.0.0). Importing this module adds ours; it must be imported in every process.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vectordb_bench.backend.clients import DB

NAME = "Fanlight"


def database() -> Any:
    """Give the member of the enumeration that stands for Fanlight."""
    return DB(NAME)


def _register() -> None:
    if NAME in DB.__members__:
        return
    member = object.__new__(DB)
    member._name_ = member._value_ = NAME
    DB._member_names_.append(NAME)
    DB._member_map_[NAME] = member
    DB._value2member_map_[NAME] = member
    DB.init_cls = property(_or_ours(DB.init_cls.fget, _init_cls))
    DB.config_cls = property(_or_ours(DB.config_cls.fget, _config_cls))
    DB.case_config_cls = _or_ours(DB.case_config_cls, _case_config_cls)


def _or_ours(theirs: Callable[..., Any], ours: Callable[[], Any]) -> Callable[..., Any]:
    def choose(self: Any, *arguments: Any, **named: Any) -> Any:
        return ours() if self.value == NAME else theirs(self, *arguments, **named)

    return choose


def _init_cls() -> Any:
    from .database import Fanlight

    return Fanlight


def _config_cls() -> Any:
    from .config import FanlightConfig

    return FanlightConfig


def _case_config_cls() -> Any:
    from .config import FanlightIndexConfig

    return FanlightIndexConfig


_register()
