"""Who calls, and which collections he may use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import translate

from fanlight.access.policy import Role

EVERYTHING = "*"


class Collections:
    """A set of collections by name or glob ("shop-*"). Immutable."""

    def __init__(self, patterns: Sequence[str] = (EVERYTHING,)) -> None:
        self.patterns = tuple(patterns)
        self.is_everything = EVERYTHING in self.patterns
        self._matches = re.compile("|".join(map(translate, self.patterns)) or "(?!)").match

    def __contains__(self, name: str) -> bool:
        """Tell whether a collection is one of them."""
        return self.is_everything or self._matches(name) is not None


ALL_COLLECTIONS = Collections()


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has shown who he is.

    Attributes:
        name: of his key or certificate, for people and the audit log.
        role: what he may do.
        collections: which ones he may use.
        expires_at: seconds since the epoch after which he is nobody; None for never.
        digest: SHA-256 of his key; empty for a caller without one.
    """

    name: str
    role: Role
    collections: Collections = ALL_COLLECTIONS
    expires_at: float | None = None
    digest: bytes = field(default=b"", repr=False)

    def is_valid(self, now: float) -> bool:
        """Tell whether his time is not over."""
        return self.expires_at is None or now < self.expires_at
