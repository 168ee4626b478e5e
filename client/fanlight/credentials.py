"""What a client says of itself: from its arguments, or from the environment.

FANLIGHT_API_KEY, FANLIGHT_TLS_CA, FANLIGHT_TLS_CERT, FANLIGHT_TLS_KEY and FANLIGHT_TLS_SERVER_NAME
stand for what the arguments leave out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeAlias

from fanlight.access.secret import is_sendable
from fanlight.access.tls import Tls
from fanlight.errors import InvalidRequest
from fanlight.wire.dialing import Identity

API_KEY_VARIABLE = "FANLIGHT_API_KEY"
_TLS_VARIABLES = {
    "ca": "FANLIGHT_TLS_CA",
    "cert": "FANLIGHT_TLS_CERT",
    "key": "FANLIGHT_TLS_KEY",
    "server_name": "FANLIGHT_TLS_SERVER_NAME",
}

TlsLike: TypeAlias = Tls | bool | None
KeyLike: TypeAlias = str | Callable[[], str] | None


def identity_of(
    tls: TlsLike, api_key: KeyLike, addresses: Iterable[str], *, insecure: bool
) -> Identity:
    """Judge what a client was given.

    Raises:
        InvalidRequest: a file or the key cannot be used, or the key would go to another host in
            plain text.
    """
    identity = Identity.of(_tls(tls), _key(api_key))
    for address in addresses:
        identity.check(address, insecure=insecure)
    return identity


def _tls(given: TlsLike) -> Tls | None:
    if isinstance(given, Tls):
        return given
    if given is False:
        return None
    values = {name: os.environ.get(variable, "") for name, variable in _TLS_VARIABLES.items()}
    return Tls(**values) if given or any(values.values()) else None


def _key(given: KeyLike) -> Callable[[], str] | None:
    """Give what gives the key; an empty one is none."""
    if given is None:
        given = os.environ.get(API_KEY_VARIABLE, "")
    if not isinstance(given, str):
        return partial(_checked, given)
    if not given:
        return None
    key = _checked(lambda: given)
    return lambda: key


def _checked(give: Callable[[], str]) -> str:
    key = give()
    if not is_sendable(key):
        # Not "got", which would show the key.
        raise InvalidRequest("api_key: expected printable ASCII without spaces", field="api_key")
    return key
