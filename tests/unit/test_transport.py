"""Which router a client calls, and whose its channels are."""

from __future__ import annotations

import os
from typing import Any, cast

import grpc
import pytest

from fanlight.calls import GET_STATUS, Rpc
from fanlight.errors import InvalidRequest
from fanlight.transport import Addresses, Connections


class FakeChannel:
    """Makes methods that only say whose they are."""

    def __init__(self, address: str) -> None:
        self.address = address

    def unary_unary(self, path: str, **serializers: object) -> object:
        return (self, path)


def connections() -> Connections[grpc.Channel]:
    return Connections(Addresses("a:1"), lambda address: cast(grpc.Channel, FakeChannel(address)))


def channel_of(subject: Connections[grpc.Channel], rpc: Rpc[Any] = GET_STATUS) -> FakeChannel:
    channel, path = subject.method(rpc, "a:1")
    assert path == rpc.path
    return cast(FakeChannel, channel)


def test_a_router_is_left_once() -> None:
    """When several calls fail on one router, the client moves on by one, and comes round again."""
    addresses = Addresses(["a:1", "b:1"])
    first = addresses.current
    addresses.leave(first)
    second = addresses.current
    addresses.leave(first)
    assert {first, second} == {"a:1", "b:1"}
    assert addresses.current == second
    addresses.leave(second)
    assert addresses.current == first


def test_a_channel_is_made_once() -> None:
    """All calls of a process to one router share a channel."""
    subject = connections()
    assert channel_of(subject) is channel_of(subject)


def test_a_child_leaves_its_parents_channels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fork the child makes its own channel, and closes only that."""
    subject = connections()
    parents = channel_of(subject)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    childs = channel_of(subject)
    assert childs is not parents
    [closed] = subject.close()
    assert cast(object, closed.channel) is childs


def test_a_child_that_made_none_closes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child may close a client that only its parent has used."""
    subject = connections()
    channel_of(subject)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert subject.close() == []


def test_nothing_is_sent_after_the_end() -> None:
    """A closed client makes no channel."""
    subject = connections()
    assert subject.close() == []
    with pytest.raises(InvalidRequest, match="the client is closed"):
        channel_of(subject)
