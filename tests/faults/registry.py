"""The faults that Fanlight is tested with: one line each.

A fault is a module of this folder that offers `run(seconds, seed) -> Outcome`. It is imported
when its turn comes, so that one broken module does not keep the others from running.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

from tests.faults.outcome import Outcome

Run: TypeAlias = Callable[[float, int], Outcome]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: of its module, and on the command line.
        weight: its share of the time beside the others'. Trials that take a second each get
            more than tables that are worked off once.
    """

    name: str
    weight: int = 1

    @property
    def module(self) -> str:
        """Name the module."""
        return f"{__package__}.{self.name}"

    @property
    def is_present(self) -> bool:
        """Tell whether the module is there."""
        return importlib.util.find_spec(self.module) is not None

    def load(self) -> Run:
        """Import the module."""
        return cast(Run, importlib.import_module(self.module).run)


FAULTS: tuple[Fault, ...] = (
    Fault("kill", 6),
    Fault("power_cut", 2),
    Fault("io_errors"),
    Fault("disk_full"),
    Fault("damage", 2),
    Fault("decoders", 2),
    Fault("bad"),
    Fault("clashes"),
    Fault("stateful", 5),
    Fault("mutations", 2),
    Fault("overload", 2),
    Fault("deadlines", 2),
    Fault("connections", 2),
    Fault("large_answers"),
    Fault("access"),
    Fault("tls"),
    Fault("snapshot", 2),
    Fault("fields"),
)


def chosen(names: str) -> tuple[Fault, ...]:
    """Give the faults of a list of names, or all for an empty one.

    Raises:
        ValueError: there is no fault of that name.
    """
    known = {fault.name: fault for fault in FAULTS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"no fault {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(known[name] for name in wanted) or FAULTS
