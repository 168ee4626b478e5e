"""Certificates and keys of TLS, from their files.

Law: what is taken fits together: the key is that of the certificate, and every file is whole. A
pair that does not is refused here, before it could cut off everybody.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fanlight.access.files import BadFile, Reloaded, read_file


@dataclass(frozen=True, slots=True)
class Tls:
    """How to encrypt, by PEM files. What is left out is not used.

    Attributes:
        ca: certificates of the authorities that vouch for the other side; for a client without
            them, those that come with gRPC.
        cert: own certificate, followed by those that vouch for it.
        key: the private key of `cert`, not encrypted; closed to other users.
        server_name: name that the server's certificate must hold, when it is not the host's.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """List the files."""
        return tuple(path for path in (self.ca, self.cert, self.key) if path)


@dataclass(frozen=True, slots=True)
class Material:
    """What the files hold; each part is PEM, or empty.

    Attributes:
        ca: see `Tls`.
        cert: see `Tls`.
        key: see `Tls`. It never appears in a representation.
    """

    ca: bytes
    cert: bytes
    key: bytes

    def __repr__(self) -> str:
        """Hide everything."""
        return f"{type(self).__name__}(...)"


def watch(tls: Tls) -> Reloaded[Material]:
    """Read the files, and be ready to read them again.

    Raises:
        BadFile: one is missing, no PEM, open to everybody, or the key is not the certificate's.
    """
    return Reloaded(tls.paths, lambda: read(tls))


def read(tls: Tls) -> Material:
    """Read the files and hold them to each other.

    Raises:
        BadFile: see `watch`.
    """
    if bool(tls.cert) != bool(tls.key):
        raise BadFile("tls: expected cert and key together, got one of them")
    ca = read_file(tls.ca) if tls.ca else b""
    cert = read_file(tls.cert) if tls.cert else b""
    key = read_file(tls.key, secret=True) if tls.key else b""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        _check_authorities(context, tls.ca, ca)
    if cert:
        _check_pair(context, tls, cert, key)
    return Material(ca, cert, key)


def _check_authorities(context: ssl.SSLContext, path: str, pem: bytes) -> None:
    try:
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise BadFile(f"{path}: expected certificates in PEM") from None


def _check_pair(context: ssl.SSLContext, tls: Tls, cert: bytes, key: bytes) -> None:
    """Let OpenSSL judge the very bytes that were read, not what the files may hold by now."""
    if b"ENCRYPTED" in key:
        raise BadFile(f"{tls.key}: expected a private key without a passphrase")
    if cert.count(b"-----BEGIN CERTIFICATE-----") != cert.count(b"-----END CERTIFICATE-----"):
        raise BadFile(f"{tls.cert}: expected whole certificates in PEM")
    try:
        with _in_memory(cert) as cert_path, _in_memory(key) as key_path:
            context.load_cert_chain(cert_path, key_path)
    except ssl.SSLError:
        raise BadFile(
            f"{tls.cert} and {tls.key}: expected a certificate in PEM and its private key"
        ) from None


@contextmanager
def _in_memory(blob: bytes) -> Iterator[str]:
    """Give bytes a path, which OpenSSL wants, without a copy on any disk."""
    descriptor = os.memfd_create("fanlight", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, blob)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
