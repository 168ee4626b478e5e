"""Page tokens of a scroll: the last id seen, opaque to callers."""

from __future__ import annotations

from fanlight.errors import InvalidRequest
from fanlight.model import IdType

_INT, _STRING = b"i", b"s"


def to_token(last_id: int | str) -> bytes:
    """Make the token that continues after an id."""
    if isinstance(last_id, str):
        return _STRING + last_id.encode()
    return _INT + last_id.to_bytes(8, "little", signed=True)


def from_token(token: bytes, id_type: IdType) -> int | str | None:
    """Read a token; None for the start.

    Raises:
        InvalidRequest: it is not a token of a collection with this type of ids.
    """
    if not token:
        return None
    kind, rest = token[:1], token[1:]
    if id_type is IdType.INT64 and kind == _INT and len(rest) == 8:
        return int.from_bytes(rest, "little", signed=True)
    if id_type is IdType.STRING and kind == _STRING:
        try:
            return rest.decode()
        except UnicodeDecodeError:
            pass  # falls through to the refusal
    raise InvalidRequest.of_field("page_token", "a next_page_token of this collection", "another")
