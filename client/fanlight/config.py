"""The one configuration loader, and the sections that both programs share.

Laws: a configuration is a tree of frozen dataclasses, checked whole before anything starts. A
key that is not known is an error that names the nearest known one. A key that is left out has
the default of the section it stands in. Types are strict: "7700" is no port.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_type_hints

import yaml
from annotated_types import Interval, MaxLen, MinLen
from pydantic import TypeAdapter, ValidationError

from fanlight.errors import FanlightError

T = TypeVar("T")


class ConfigError(FanlightError):
    """The configuration is wrong; nothing was started."""


# What a socket's address holds on Linux, less the byte that ends it; see unix(7).
SOCKET_BYTES = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConfig:
    """Where a server listens, and how long it takes to leave.

    Attributes:
        host: address to bind. Anything but loopback needs TLS (`tls.cert`) and a way to know
            callers (`access.keys` or `tls.require_client_cert`), or `insecure: true`.
        port: port to bind; 0 for any free one.
        insecure: allow plaintext or unauthenticated access from other hosts. What is configured
            of TLS and keys is used nevertheless.
        socket: path of a Unix socket to listen on as well; "" for none. For programs on the same
            machine: a message costs the sender 2 microseconds there and 16 on loopback TCP. Only
            this user can open it, so whoever calls there is trusted like a router.
        health_port: port of a second listener on the same host, in plain text and for the health
            service alone; None for none. For probes that know no TLS, such as Kubernetes'.
        reflection: whether to describe the services to tools; where keys are asked for, also
            for that.
        drain_s: seconds that calls under way get to finish when the server stops. It must be
            less than Kubernetes' terminationGracePeriodSeconds (30 by default).
    """

    host: Annotated[str, MinLen(1)] = "127.0.0.1"
    port: Annotated[int, Interval(ge=0, le=65_535)]
    insecure: bool = False
    socket: Annotated[str, MaxLen(SOCKET_BYTES)] = ""
    health_port: Annotated[int, Interval(ge=0, le=65_535)] | None = None
    reflection: bool = True
    drain_s: Annotated[float, Interval(ge=0, le=600)] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How a server encrypts, by PEM files, which are read again when they change.

    Attributes:
        cert: its certificate, followed by those that vouch for it; "" for plain text.
        key: the private key of `cert`, not encrypted, in a file that is closed to other users.
        ca: certificates of the authorities of callers' certificates.
        require_client_cert: whether callers must show a certificate of `ca` (mutual TLS).
    """

    cert: str = ""
    key: str = ""
    ca: str = ""
    require_client_cert: bool = False

    def __post_init__(self) -> None:
        """Hold the keys to each other."""
        if bool(self.cert) != bool(self.key):
            raise ConfigError("tls: expected cert and key together, got one of them")
        if self.require_client_cert and not (self.ca and self.cert):
            raise ConfigError("tls.require_client_cert: expected tls.cert, tls.key and tls.ca too")
        if self.ca and not self.require_client_cert:
            raise ConfigError(
                "tls.ca: expected tls.require_client_cert: true with it, since it is what judges "
                "the certificates of callers"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessConfig:
    """Who may call. With neither of these, whoever can reach the server.

    Attributes:
        keys: file of API keys, which `fanlight keys` writes; it is read again when it changes.
        trusted_names: DNS names and URIs in client certificates whose holders are parts of the
            cluster (routers) and need no key. Needs `tls.require_client_cert`.
    """

    keys: str = ""
    trusted_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is logged, to stderr.

    Attributes:
        level: the least level that is logged.
        format: "text" for people, "json" for collectors: one object a line.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


def load(cls: type[T], path: Path | None, overrides: Sequence[str] = ()) -> T:
    """Load a configuration from a YAML file and `a.b=value` overrides, which win.

    Args:
        cls: the frozen dataclass to make; its fields that are dataclasses are sections.
        path: the file; None for defaults alone.
        overrides: each "a.b=value", the value in YAML.

    Raises:
        ConfigError: names the key, what was expected and what it holds.
    """
    document = {} if path is None else _read(path)
    for override in overrides:
        _apply(document, override)
    return _validated(cls, _completed(cls, document, {}, ""))


def as_mapping(config: object) -> dict[str, Any]:
    """Turn a configuration into plain values."""
    return cast(dict[str, Any], TypeAdapter(type(config)).dump_python(config, mode="json"))


def dump(config: object) -> str:
    """Write a configuration as the YAML that loads it."""
    return yaml.safe_dump(as_mapping(config), sort_keys=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ConfigError(f"{path}{line}: is no YAML") from None
    if document is not None and not isinstance(document, dict):
        raise ConfigError(f"{path}: expected keys and values, got a {type(document).__name__}")
    return document or {}


def _apply(document: dict[str, Any], override: str) -> None:
    """Set one `a.b=value` in the document."""
    key, equals, text = override.partition("=")
    *sections, name = key.split(".")
    if not equals or not all([*sections, name]):
        raise ConfigError(f"--set: expected section.key=value, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}: expected a YAML value, got {text!r}") from None
    for section in sections:
        if not isinstance(document.get(section), dict):
            document[section] = {}
        document = document[section]
    document[name] = value


def _completed(cls: type, given: object, defaults: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Refuse unknown keys, and fill in what the defaults of the enclosing section say."""
    if given is None:  # a section whose every line is a comment
        given = {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{at}: expected a section of keys and values, got {given!r}")
    known = {field.name: field.default for field in fields(cls)}
    prefix = f"{at}." if at else ""
    for key in given:
        if key not in known:
            raise ConfigError(_unknown(prefix, str(key), list(known)))
    values = {**defaults, **given}
    for name, kind in get_type_hints(cls).items():
        if is_dataclass(kind):
            inherited = defaults.get(name, _section_defaults(known[name]))
            values[name] = _completed(cast(type, kind), given.get(name), inherited, prefix + name)
    return values


def _section_defaults(default: object) -> Mapping[str, Any]:
    return asdict(default) if is_dataclass(default) and not isinstance(default, type) else {}


def _unknown(prefix: str, key: str, known: list[str]) -> str:
    nearest = get_close_matches(key, known, n=1, cutoff=0.5)
    if nearest:
        return f"{prefix}{key}: unknown key; did you mean {prefix}{nearest[0]}?"
    return f"{prefix}{key}: unknown key; expected one of {', '.join(known)}"


def _validated(cls: type[T], values: Mapping[str, Any]) -> T:
    """Check types and ranges; by way of JSON, whose strict mode knows lists and paths."""
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise ConfigError("; ".join(map(_fault, faults))) from None


def _fault(fault: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("missing", "missing_argument"):
        return f"{key}: is missing"
    expected = str(fault["msg"]).replace("Input should be", "expected")
    return f"{key}: {expected}, got {fault['input']!r}"
