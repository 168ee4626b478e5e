"""What a row of the table of bad requests is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
# The collections that the requests speak of.
NUMBERED, NAMED = "numbered", "named"

Request: TypeAlias = Callable[..., Message]


@dataclass(frozen=True, slots=True)
class Bad:
    """A request that must be refused.

    Attributes:
        rpc: the method.
        path: the field of the request that is bad; "" for the request itself.
        what: what is bad about it.
        blob: the request.
        code: that the answer must have.
        named: field that the error must name; "" where the message cannot be read.
        row: the row of the batch that is refused while the others stand; None: the whole call.
        shard_only: a router decides this field by itself.
    """

    rpc: str
    path: str
    what: str
    blob: bytes
    code: grpc.StatusCode = INVALID
    named: str = ""
    row: int | None = None
    shard_only: bool = False

    def __str__(self) -> str:
        return f"{self.rpc} {self.path or 'request'}: {self.what}"


def bad_row(rpc: str, path: str, what: str, request: Message, named: str, **keys: Any) -> Bad:
    """Make a row of a request."""
    return Bad(rpc, path, what, request.SerializeToString(), named=named, **keys)


def bad_texts(rpc: str, path: str, number: int, make: Request, named: str) -> Iterator[Bad]:
    """Give names of collections that are not there; `number` is that of the field."""
    field = path.rpartition(".")[2]
    for what, name in (
        ("none", ""),
        ("an unknown one", "nowhere"),
        ("one with a slash", "../catalog.db"),
        ("a long one", "x" * 100_000),
    ):
        request = make(**{field: name})
        yield bad_row(rpc, path, what, request, named, code=NOT_FOUND)
    not_utf8 = bytes([number << 3 | 2, 2]) + b"\xff\xfe"
    yield Bad(rpc, path, "no UTF-8", make(**{field: ""}).SerializeToString() + not_utf8)
