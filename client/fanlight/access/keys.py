"""API keys: made at random, kept as hashes, found again in constant time.

A key is 256 random bits, so nobody guesses one from its hash however fast he hashes; SHA-256 is
enough. Slow hashes (argon2, bcrypt) protect passwords that people think up, and would let
anybody who sends wrong keys keep the server busy. See docs/adr/0015-access.md.

Law: no text of a key appears in a representation, an error or a log.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import yaml
from annotated_types import Len, MinLen
from pydantic import AwareDatetime, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from fanlight.access.callers import EVERYTHING, Caller, Collections
from fanlight.access.files import BadFile, Reloaded, read_file
from fanlight.access.policy import Role

RoleName = Literal["read", "write", "admin", "cluster"]
ROLE_NAMES: tuple[str, ...] = get_args(RoleName)
# Whoever finds a key in a file or a log sees what it is, and so do scanners for secrets.
_PREFIX = "fanlight_"
_KEY_BYTES = 32
# Reading one key takes a microsecond, so a thousand callers of their own is past any use.
_KEYS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One key, as the file has it.

    Attributes:
        name: who holds it; appears in logs.
        sha256: of the key, as 64 hexadecimal digits.
        role: what it allows.
        collections: names or globs of the collections that it allows it for.
        expires: when it ends, with a time zone; None for never.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    role: RoleName
    collections: Annotated[tuple[Annotated[str, MinLen(1)], ...], MinLen(1)] = (EVERYTHING,)
    expires: AwareDatetime | None = None

    @property
    def caller(self) -> Caller:
        """Give who calls with it."""
        expires_at = None if self.expires is None else self.expires.timestamp()
        role, digest = Role[self.role.upper()], bytes.fromhex(self.sha256)
        return Caller(self.name, role, Collections(self.collections), expires_at, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysFile:
    """What a file of keys holds."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    keys: Annotated[tuple[KeyRecord, ...], Len(0, _KEYS_MAX)]


_FILE = TypeAdapter(KeysFile)


class Keyring:
    """The keys of one reading of the file. Immutable but for what it remembers."""

    def __init__(self, callers: Iterable[Caller] = ()) -> None:
        self._callers = tuple(callers)
        # Digests that were found, so that each key is compared with all others once only. What
        # was not found is not kept: strangers must not fill memory.
        self._found: dict[bytes, Caller] = {}

    def caller_of(self, key: str) -> Caller | None:
        """Find who holds a key, expired or not."""
        return self.holder(digest_of(key))

    def holder(self, digest: bytes) -> Caller | None:
        """Find who holds the key of a digest; every key is compared, however early one fits."""
        known = self._found.get(digest)
        if known is not None:
            return known
        found: Caller | None = None
        for caller in self._callers:
            if hmac.compare_digest(caller.digest, digest):
                found = caller
        if found is not None:
            self._found[digest] = found
        return found

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._callers)


def digest_of(key: str) -> bytes:
    """Hash a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def new_key() -> str:
    """Make a key of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def watch_keys(path: str) -> Reloaded[Keyring]:
    """Read a file of keys, and be ready to read it again.

    Raises:
        BadFile: it cannot be read, is open to everybody, or is no such file.
    """
    return Reloaded((path,), lambda: Keyring(record.caller for record in read_keys(path)))


def read_keys(path: str) -> tuple[KeyRecord, ...]:
    """Read a file of keys, YAML or JSON.

    Raises:
        BadFile: see `watch_keys`. The message shows no value: it could be somebody's key.
    """
    text = read_file(path, secret=True)
    try:
        found = _FILE.validate_python(yaml.load(text, _Loader)).keys  # noqa: S506  it is a safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BadFile(f"{path}{f', line {mark.line + 1}' if mark else ''}: is no YAML") from None
    except ValidationError as error:
        raise BadFile(
            f"{path}: {'; '.join(map(_fault, error.errors(include_url=False)))}"
        ) from None
    _check_distinct(path, "name", [record.name for record in found])
    _check_distinct(path, "sha256", [record.sha256 for record in found])
    return found


def dump_keys(records: Sequence[KeyRecord]) -> str:
    """Write the file that `read_keys` reads."""
    return yaml.safe_dump(
        _FILE.dump_python(KeysFile(keys=tuple(records)), mode="json"), sort_keys=False
    )


class _Loader(yaml.SafeLoader):
    """YAML without dates, which the validation reads, and with one value a key."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _fault(fault: Any) -> str:
    # A long name of a key that is not known may be somebody's API key in the wrong place.
    where = [
        str(part) if len(str(part)) < len(_PREFIX) + _KEY_BYTES else "..." for part in fault["loc"]
    ]
    return f"{'.'.join(where) or 'file'}: {fault['msg']}"


def _check_distinct(path: str, what: str, values: list[str]) -> None:
    for row, value in enumerate(values):
        if value in values[:row]:
            raise BadFile(
                f"{path}: keys.{row}.{what}: expected another one than keys.{values.index(value)}'s"
            )
