"""A workload of independent lanes, each of which knows what it must find after any crash.

Every lane writes items of its own, one operation after the other; lanes run at the same time, so
that their writes share transactions. Up to one operation of a lane is under way at a crash, and that is there
as a whole or not at all.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from tests.pieces import floats

import fanlight
from fanlight.model import Floats

DIM = 8
LANES = 3
SHARED = "shared"
# Of the last lane: created, written to and deleted again and again.
FLEETING = "fleeting"
_UNIVERSE = 120

Items = dict[int, tuple[bytes, bytes]]
# What a lane knows of each of its collections; one that is not there is None.
State = Mapping[str, Items | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a lane does next.

    Attributes:
        kind: "create", "drop", "upsert" or "delete".
        collection: where.
        ids: of the items.
        vectors: of an upsert.
        payloads: of an upsert.
    """

    kind: str
    collection: str
    ids: list[int] = field(default_factory=list)
    vectors: Floats | None = None
    payloads: list[dict[str, int]] = field(default_factory=list)

    def apply(self, state: State) -> State:
        """Tell the state after it."""
        if self.kind in ("create", "drop"):
            return {**state, self.collection: {} if self.kind == "create" else None}
        items = dict(state[self.collection] or {})
        for row, value in enumerate(self.ids):
            if self.vectors is None:
                items.pop(value, None)
            else:
                items[value] = (self.vectors[row].tobytes(), canonical(self.payloads[row]))
        return {**state, self.collection: items}

    def run(self, client: fanlight.Client) -> None:
        """Do it, and return when it is acknowledged."""
        if self.kind == "create":
            client.create_collection(self.collection, dim=DIM, m=8, ef_construction=40)
        elif self.kind == "drop":
            client.delete_collection(self.collection)
        elif self.vectors is None:
            client.collection(self.collection).delete(np.array(self.ids, np.int64))
        else:
            client.collection(self.collection).upsert(
                np.array(self.ids, np.int64), self.vectors, self.payloads
            )


def canonical(payload: object) -> bytes:
    """Write a payload so that equal ones are equal bytes, and none is an empty one."""
    return json.dumps(payload or {}, sort_keys=True).encode()


class Lane:
    """The operations of one lane, made from a seed as they are asked for.

    Attributes:
        number: which lane.
        states: the state before the first operation, after it, and so on.
    """

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self._choice = random.Random(f"{seed}/{number}")
        self.own = FLEETING if number == LANES - 1 else SHARED
        self.states: list[State] = [{self.own: None if self.own == FLEETING else {}}]

    def next(self) -> Operation:
        """Make the next operation, and remember the state after it."""
        made = self._made()
        self.states.append(made.apply(self.states[-1]))
        return made

    def _made(self) -> Operation:
        choice = self._choice
        if self.states[-1][self.own] is None:
            return Operation("create", self.own)
        if self.own == FLEETING and choice.random() < 0.1:
            return Operation("drop", self.own)
        rows = choice.choice([1, 5, 40])
        # ids of this lane alone: the remainder is its number
        ids = [LANES * n + self.number for n in choice.sample(range(_UNIVERSE), rows)]
        if choice.random() < 0.3:
            return Operation("delete", self.own, ids)
        seed = choice.randrange(2**32)
        payloads = [{"n": seed % 1_000}] * rows if choice.random() < 0.5 else [{}] * rows
        return Operation("upsert", self.own, ids, floats(seed, rows, DIM), payloads)
