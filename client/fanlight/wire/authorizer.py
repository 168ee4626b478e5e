"""Who calls, and whether he may: what the guard asks about every call when callers are known.

Laws: a call is refused unless its row in the policy permits it. The role is judged before the
request is decoded, its collections after; each message of a stream is judged anew, so a key that
is revoked or restricted ends what it has opened. A collection that a caller may not use is
refused whether it exists or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc

from fanlight.access.callers import Caller
from fanlight.access.files import Reloaded
from fanlight.access.keys import Keyring
from fanlight.access.policy import POLICY, Role, Rule, Scope
from fanlight.errors import FanlightError, PermissionDenied, Unauthenticated
from fanlight.wire.audit import Audit
from fanlight.wire.status import status_of

_HEADER = "authorization"
_SCHEME = "bearer"
# Whoever can open the socket runs as the server's own user, and could read its files as well.
_SOCKET = "unix:"
_AT_THE_SOCKET = Caller("(socket)", Role.CLUSTER)

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


@dataclass(slots=True)
class _Visit:
    """One call while it is judged and answered."""

    authorizer: Authorizer
    method: str
    rule: Rule
    peer: str
    caller: Caller | None = None
    collection: str = ""
    refused: bool = False


_visit: ContextVar[_Visit | None] = ContextVar("visit", default=None)


def check_collection(name: str) -> None:
    """Refuse a collection that the present caller may not use.

    For messages of which each part is answered by itself (`Scope.EACH`); the guard does the rest.

    Raises:
        PermissionDenied: his key does not cover it.
    """
    visit = _visit.get()
    if visit is not None:
        visit.authorizer.check(visit, name)


class Authorizer:
    """Judges calls by the policy. For one event loop."""

    def __init__(
        self,
        keys: Reloaded[Keyring] | None,
        trusted_names: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        policy: dict[str, Rule] | None = None,
    ) -> None:
        """Take what says who callers are.

        Args:
            keys: the API keys; None when only certificates are trusted.
            trusted_names: names in certificates of parts of the cluster.
            clock: gives seconds since the epoch.
            policy: who may call what; None for the one of Fanlight.
        """
        self._keys = keys
        self._trusted_names = frozenset(trusted_names)
        self._clock = clock
        self._policy = POLICY if policy is None else policy
        self._audit = Audit()

    # --- a call ---------------------------------------------------------------------------

    @contextmanager
    def call(self, method: str, context: _Context) -> Iterator[None]:
        """Judge a call by who calls; what is done inside belongs to that caller.

        Raises:
            Unauthenticated: nobody that is known calls.
            PermissionDenied: his role does not suffice.
        """
        rule = self._policy.get(method)
        if rule is None:
            raise PermissionDenied("no policy permits this call")
        visit = _Visit(self, method, rule, context.peer())
        token = _visit.set(visit)
        code = "OK"
        try:
            self._admit(visit, context)
            yield
        except Exception as error:
            code = status_of(error).name
            raise
        finally:
            _visit.reset(token)
            self._record(visit, code)

    def is_open(self, method: str) -> bool:
        """Tell whether a method asks nobody who he is."""
        rule = self._policy.get(method)
        return rule is not None and rule.scope is Scope.OPEN

    def reading(self, method: str, decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        """Make a decoder that refuses requests which the caller may not send."""

        def judged(blob: bytes) -> Any:
            request = decode(blob)
            self._judge(request)
            return request

        return judged

    def writing(
        self, method: str, encode: Callable[[Any], bytes], *, streams: bool
    ) -> Callable[[Any], bytes]:
        """Make an encoder that leaves out what the caller may not see."""
        rule = self._policy.get(method)

        def shown(response: Any) -> bytes:
            visit = _visit.get()
            if streams and visit is not None:
                self._renew(visit)
            if rule is not None and rule.scope is Scope.LISTED and visit is not None:
                _leave_out(response, visit.caller)
            return encode(response)

        return shown

    def check(self, visit: _Visit, collection: str) -> None:
        """Refuse a collection that the caller of a visit may not use."""
        visit.collection = collection
        if visit.caller is None or collection not in visit.caller.collections:
            message = "the API key does not cover this collection"
            self._refuse(visit, PermissionDenied(message))

    # --- judging --------------------------------------------------------------------------

    def _admit(self, visit: _Visit, context: _Context) -> None:
        try:
            visit.caller = self._caller(context)
        except Unauthenticated as error:
            self._refuse(visit, error)
        self._check_role(visit)

    def _check_role(self, visit: _Visit) -> None:
        caller, rule = visit.caller, visit.rule
        assert caller is not None
        if caller.role < rule.role:
            needs = f"the call needs the role {rule.role.name.lower()}"
            self._refuse(visit, PermissionDenied(f"{needs}, got {caller.role.name.lower()}"))
        if rule.scope is Scope.WHOLE and not caller.collections.is_everything:
            message = "the call needs an API key for all collections, got one for some"
            self._refuse(visit, PermissionDenied(message))

    def _judge(self, request: Any) -> None:
        visit = _visit.get()
        if visit is None or visit.caller is None:
            raise PermissionDenied("nobody was admitted")
        self._renew(visit)
        internal = visit.rule.internal_field(request)
        if internal and visit.caller.role < Role.CLUSTER:
            message = f"{internal}: is set by routers only"
            self._refuse(visit, PermissionDenied(message, field=internal))
        if visit.rule.scope is Scope.NAMED:
            for name in visit.rule.collections(request):
                self.check(visit, name)

    def _caller(self, context: _Context) -> Caller:
        key = _key_in(context)
        if key is not None:
            caller = self._keys.value.caller_of(key) if self._keys else None
            return self._valid(caller)
        if context.peer().startswith(_SOCKET):
            return _AT_THE_SOCKET
        for name in _names(context) if self._trusted_names else ():
            if name in self._trusted_names:
                return Caller(name, Role.CLUSTER)
        raise Unauthenticated("expected the header authorization: Bearer <API key>, got none")

    def _valid(self, caller: Caller | None) -> Caller:
        if caller is None:
            raise Unauthenticated("the API key is not known")
        if not caller.is_valid(self._clock()):
            raise Unauthenticated("the API key has expired")
        return caller

    def _renew(self, visit: _Visit) -> None:
        """Ask again who the caller is: his key may have ended or changed since."""
        if visit.caller is None or not visit.caller.digest or self._keys is None:
            return
        try:
            visit.caller = self._valid(self._keys.value.holder(visit.caller.digest))
        except Unauthenticated as error:
            self._refuse(visit, error)
        self._check_role(visit)

    # --- recording ------------------------------------------------------------------------

    def _refuse(self, visit: _Visit, error: FanlightError) -> NoReturn:
        visit.refused = True
        who, code = _name(visit.caller), status_of(error).name
        self._audit.refused(who, visit.method, visit.collection, code, visit.peer)
        raise error

    def _record(self, visit: _Visit, code: str) -> None:
        """Record what administrators do; a router's looks at its shards are not news."""
        caller, rule = visit.caller, visit.rule
        if caller is None or visit.refused or rule.role < Role.ADMIN:
            return
        if caller.role is Role.CLUSTER and rule.scope is Scope.WHOLE:
            return
        self._audit.administered(caller.name, visit.method, visit.collection, code, visit.peer)


def _name(caller: Caller | None) -> str:
    return "(nobody)" if caller is None else caller.name


def _key_in(context: _Context) -> str | None:
    """Take the API key out of the metadata; "" for what is there but is none."""
    found = [value for key, value in context.invocation_metadata() or () if key == _HEADER]
    if not found:
        return None
    scheme, _, key = str(found[0]).partition(" ")
    return key if len(found) == 1 and scheme.lower() == _SCHEME else ""


def _names(context: _Context) -> Iterator[str]:
    """Give the DNS names and URIs of the caller's verified certificate."""
    proofs = context.auth_context()
    for kind in ("peer_dns", "peer_uri"):
        for name in proofs.get(kind, ()):
            yield name.decode("utf-8", "replace")


def _leave_out(response: Any, caller: Caller | None) -> None:
    """Show a caller the collections that he may use, and count no others."""
    if not hasattr(response, "collections") or (caller and caller.collections.is_everything):
        return
    permitted = () if caller is None else caller.collections
    shown = [found for found in response.collections if found.spec.name in permitted]
    del response.collections[:]
    response.collections.extend(shown)
    response.coverage.items_covered = sum(found.items for found in shown)
    response.coverage.ClearField("items_total")
