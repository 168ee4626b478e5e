"""The audit log: who was refused, and who changed what.

Laws: it names callers by the names of their keys, never by the keys. Refusals are limited for
each host and altogether, and what was left out is counted, so that a flood neither fills the log
nor hides others. Calls of administrators are never left out. What callers wrote is shortened.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

import structlog

# A host may be wrong ten times in a row, and then once a second; all hosts ten times that.
_BURST = 10
_PER_S = 1.0
_ALL = 10
_HOSTS = 1_024
_SHOWN = 128

_log = structlog.get_logger("fanlight.audit")


@dataclass(slots=True)
class _Bucket:
    """A token bucket."""

    size: float
    per_s: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        self.tokens = min(self.size, self.tokens + (now - self.at) * self.per_s)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Audit:
    """Writes records to the log of the name "fanlight.audit". For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = _Bucket(_BURST * _ALL, _PER_S * _ALL, _BURST * _ALL, clock())
        self._hosts: OrderedDict[str, _Bucket] = OrderedDict()
        self._left_out = 0

    def refused(self, who: str, method: str, collection: str, code: str, peer: str) -> None:
        """Record a call that was refused, unless there are too many."""
        now = self._clock()
        if not (self._bucket(_host(peer), now).take(now) and self._all.take(now)):
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        more = {"left_out": left_out} if left_out else {}
        _log.warning("refused", **_record(who, method, collection, code, peer), **more)

    def administered(self, who: str, method: str, collection: str, code: str, peer: str) -> None:
        """Record a call of an administrator, whatever came of it."""
        _log.info("admin call", **_record(who, method, collection, code, peer))

    def _bucket(self, host: str, now: float) -> _Bucket:
        bucket = self._hosts.pop(host, None) or _Bucket(_BURST, _PER_S, _BURST, now)
        self._hosts[host] = bucket
        if len(self._hosts) > _HOSTS:
            self._hosts.popitem(last=False)
        return bucket


def _record(who: str, method: str, collection: str, code: str, peer: str) -> dict[str, str]:
    return {
        "who": who,
        "method": method,
        "collection": _shown(collection),
        "code": code,
        "peer": unquote(peer),
    }


def _host(peer: str) -> str:
    """Leave out the port."""
    return peer.rpartition(":")[0]


def _shown(text: str) -> str:
    """Shorten what a caller wrote, and leave nothing in it that a terminal obeys."""
    return text[:_SHOWN].encode("unicode_escape").decode("ascii")
