"""One API key, as a caller has it.

Law: no text of a key appears in a representation, an error or a log.
"""

from __future__ import annotations

from fanlight.access.files import BadFile, Reloaded, read_file


def watch_secret(path: str) -> Reloaded[str]:
    """Read a file that holds one key and nothing else, and be ready to read it again.

    Raises:
        BadFile: it cannot be read, is open to everybody, or holds no key.
    """
    return Reloaded((path,), lambda: read_secret(path))


def read_secret(path: str) -> str:
    """Read a key from a file that holds nothing else."""
    key = read_file(path, secret=True).decode("latin-1").strip()
    if not is_sendable(key):
        raise BadFile(f"{path}: expected one line with an API key")
    return key


def is_sendable(key: str) -> bool:
    """Tell whether a key can stand in a header: printable ASCII without spaces, not empty."""
    return bool(key) and all("!" <= character <= "~" for character in key)
