"""Comparing a snapshot with its manifest, before anything is made of it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from fanlight.errors import Corruption, NotFound
from fanlight.snapshots.manifest import BYTES_MAX, FILE_NAME, FileEntry, Manifest, parse
from fanlight.snapshots.places import Place

# SHA-256 lets go of the interpreter, so files side by side use the cores.
_THREADS = 4
_FAULTS_SHOWN = 5


def verified(place: Place) -> Manifest:
    """Read the manifest, and compare every byte of every file with its checksum.

    Raises:
        Corruption: the snapshot is damaged, or was never finished; names the files.
        InvalidRequest: it is of a newer format; names both versions.
        NotReady: the object store cannot be used.
    """
    manifest = read_manifest(place)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
        found = pool.map(lambda file: _fault(place, file), manifest.files)
        faults = [fault for fault in found if fault is not None]
    if faults:
        more = len(faults) - _FAULTS_SHOWN
        shown = [*faults[:_FAULTS_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise Corruption(f"the snapshot in {place} is damaged: {'; '.join(shown)}")
    return manifest


def read_manifest(place: Place) -> Manifest:
    """Read the manifest; raises as `verified` does."""
    try:
        blob = place.read(FILE_NAME, BYTES_MAX)
    except NotFound:
        message = f"{place} holds no whole snapshot: it has no {FILE_NAME}, which is written last"
        raise Corruption(message) from None
    return parse(blob)


def _fault(place: Place, file: FileEntry) -> str | None:
    """Tell what is wrong with a file, if something is."""
    checksum, size = hashlib.sha256(), 0
    try:
        for chunk in place.chunks(file.name):
            checksum.update(chunk)
            size += len(chunk)
    except NotFound:
        return f"{file.name} is missing"
    if size != file.bytes:
        return f"{file.name} has {size} bytes, not {file.bytes}"
    return None if checksum.hexdigest() == file.sha256 else f"{file.name} fails its checksum"
