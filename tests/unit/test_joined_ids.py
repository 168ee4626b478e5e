"""Strings in one piece are the strings that were joined, and what cannot be is not joined."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.errors import InvalidRequest
from fanlight.joined_ids import JoinedIds

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=40)


@given(TEXTS)
def test_what_was_joined_is_given_back(ids: list[str]) -> None:
    """Unless one holds a NUL, which ends each."""
    joined = JoinedIds.of(ids)
    if any("\0" in value for value in ids):
        assert joined is None
        return
    assert joined is not None
    assert (len(joined), joined.nbytes) == (len(ids), len("\0".join([*ids, ""]).encode()))
    assert joined.unpacked().tolist() == ids
    assert JoinedIds.read(joined.data, "exclude_ids", len(ids)) == joined


@pytest.mark.parametrize("wrong", ["\ud800", 3, None, b"a", "a\0b", "\0"])
def test_what_is_no_text_without_nul_is_not_joined(wrong: Any) -> None:
    """First, last or in between."""
    for at in range(3):
        ids: list[Any] = ["a", "b"]
        ids.insert(at, wrong)
        assert JoinedIds.of(ids) is None


def test_a_nul_ends_each() -> None:
    for data in (b"a", b"a\0b", b"\0\0c"):
        with pytest.raises(InvalidRequest, match=r"exclude_ids.*a NUL after each id"):
            JoinedIds.read(data, "exclude_ids", 9)


def test_no_more_are_taken_than_are_allowed() -> None:
    assert len(JoinedIds.read(b"a\0b\0", "exclude_ids", 2)) == 2
    with pytest.raises(InvalidRequest, match=r"at most 1.*2"):
        JoinedIds.read(b"a\0b\0", "exclude_ids", 1)


def test_bytes_that_are_no_text_are_somebody_elses_id() -> None:
    """As in other columns of ids: they are no item's, and no error."""
    assert JoinedIds.read(b"\xff\0a\0", "exclude_ids", 9).unpacked().tolist() == ["\udcff", "a"]
