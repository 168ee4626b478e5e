"""Page tokens go out and come back, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.errors import InvalidRequest
from fanlight.model import IdType
from fanlight_server.paging import from_token, to_token

int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]))


@given(int64)
def test_an_integer_comes_back(value: int) -> None:
    """The token of an int64 id continues after it."""
    assert from_token(to_token(value), IdType.INT64) == value


@given(text)
def test_a_string_comes_back(value: str) -> None:
    """The token of a string id continues after it, whatever is in it."""
    assert from_token(to_token(value), IdType.STRING) == value


@pytest.mark.parametrize("id_type", list(IdType))
def test_no_token_is_the_start(id_type: IdType) -> None:
    """An empty token starts at the first item."""
    assert from_token(b"", id_type) is None


@pytest.mark.parametrize(
    ("token", "id_type"),
    [
        (b"i", IdType.INT64),
        (b"i1234567", IdType.INT64),
        (b"i123456789", IdType.INT64),
        (b"sabc", IdType.INT64),
        (b"garbage", IdType.INT64),
        (b"i12345678", IdType.STRING),
        (b"s\xff", IdType.STRING),
        (b"s\xed\xa0\x80", IdType.STRING),
        (b"\0", IdType.STRING),
    ],
)
def test_a_foreign_token_is_refused(token: bytes, id_type: IdType) -> None:
    """A token of another collection or from nowhere is the caller's mistake."""
    with pytest.raises(InvalidRequest, match="page_token: expected a next_page_token"):
        from_token(token, id_type)


@given(st.binary(max_size=12), st.sampled_from(IdType))
def test_no_token_crashes(token: bytes, id_type: IdType) -> None:
    """Any bytes are read as a position or refused."""
    try:
        position = from_token(token, id_type)
    except InvalidRequest:
        return
    assert position is None or isinstance(position, str if id_type is IdType.STRING else int)
