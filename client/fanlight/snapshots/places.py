"""Where a snapshot lies: a directory, or a place in an object store.

Laws: a file is there whole or not at all once it is published. Errors of the file system and of
object stores become Fanlight's own, and name the place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from fanlight.errors import Corruption, FanlightError, InvalidRequest, NotFound, NotReady

_CHUNK_BYTES = 4 << 20


class Sink(Protocol):
    """A file that is being written."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""
        ...

    def finish(self) -> None:
        """Make it durable and close it."""
        ...

    def abort(self) -> None:
        """Close it as it is; whatever is there of it is waste."""
        ...


class Place(Protocol):
    """Holds files by name. Methods raise only Fanlight's errors."""

    def check_free(self) -> None:
        """Refuse a place that has something in it; InvalidRequest."""
        ...

    def create(self, name: str) -> Sink:
        """Begin a file."""
        ...

    def publish(self, name: str, blob: bytes) -> None:
        """Write a small file at once, after all others are durable."""
        ...

    def open(self, name: str) -> Any:
        """Open a file to be read at any place, for pyarrow."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """Read a small file; NotFound when there is none, Corruption when it is larger."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """Read a file from start to end; NotFound when there is none."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Delete files that are there, as far as possible."""
        ...


def place_of(where: str | os.PathLike[str]) -> Place:
    """Find the place that a path or URL names.

    Raises:
        InvalidRequest: the URL is of no object store, or its library is not installed.
    """
    text = os.fspath(where)
    return ObjectPlace.of_url(text) if "://" in text else FolderPlace(Path(text))


# --- directories ------------------------------------------------------------------------------


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist") from error
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or 'it cannot be used'}") from error


class _FileSink:
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file

    def write(self, data: bytes, /) -> object:
        with _file_errors(self._path):
            return self._file.write(data)

    def finish(self) -> None:
        with _file_errors(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def abort(self) -> None:
        with suppress(OSError):
            self._file.close()


class FolderPlace:
    """A directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check_free(self) -> None:
        """Make the directory if it is not there, and refuse one that is not empty."""
        with _file_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            found = next(self._folder.iterdir(), None)
        if found is not None:
            got = f"{self._folder}, which has {found.name} in it"
            raise InvalidRequest.of_field("dest", "an empty or new directory", got)

    def create(self, name: str) -> Sink:
        """Begin a file."""
        path = self._folder / name
        with _file_errors(path):
            return _FileSink(path, path.open("xb"))

    def publish(self, name: str, blob: bytes) -> None:
        """Write beside, sync, rename, sync: whole or not there, even after a loss of power."""
        temporary = f"{name}.tmp"
        self._sync()
        sink = self.create(temporary)
        sink.write(blob)
        sink.finish()
        with _file_errors(self._folder / name):
            (self._folder / temporary).rename(self._folder / name)
        self._sync()

    def _sync(self) -> None:
        with _file_errors(self._folder):
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def open(self, name: str) -> Any:
        """Open a file."""
        path = self._folder / name
        with _file_errors(path):
            return path.open("rb")

    def read(self, name: str, most: int) -> bytes:
        """Read a small file."""
        path = self._folder / name
        with _file_errors(path), path.open("rb") as file:
            blob = file.read(most + 1)
        return _small(name, blob, most)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Read a file from start to end."""
        path = self._folder / name
        with _file_errors(path), path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def remove(self, names: Sequence[str]) -> None:
        """Delete files, as far as possible."""
        for name in names:
            with suppress(OSError):
                (self._folder / name).unlink()

    def __str__(self) -> str:
        """Name the directory."""
        return str(self._folder)


def _small(name: str, blob: bytes, most: int) -> bytes:
    if len(blob) > most:
        raise Corruption(f"{name}: it is larger than {most} bytes")
    return blob


# --- object stores ----------------------------------------------------------------------------


class _ObjectSink:
    """An upload in parts, which becomes an object when it is finished and not before."""

    def __init__(self, place: ObjectPlace, writer: Any) -> None:
        self._place = place
        self._writer: Any = writer

    def write(self, data: bytes, /) -> object:
        with self._place.errors():
            return self._writer.write(data)

    def finish(self) -> None:
        with self._place.errors():
            self._writer.close()

    def abort(self) -> None:
        self._writer = None


class ObjectPlace:
    """A prefix of a bucket, through obstore, which takes credentials as its providers do."""

    def __init__(self, store: Any, name: str) -> None:
        """Take a store of obstore.

        Args:
            store: scoped to the prefix.
            name: how errors name it.
        """
        import obstore  # the extra "objects"

        self._api = obstore
        self._store = store
        self._name = name

    @classmethod
    def of_url(cls, url: str) -> ObjectPlace:
        """Connect to the place that a URL names."""
        try:
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ModuleNotFoundError:
            message = "object stores need obstore; pip install 'fanlight[objects]' brings it"
            raise InvalidRequest(message) from None
        try:
            return cls(from_url(url), url)
        except (BaseError, ValueError, TypeError) as error:
            expected = "s3://bucket/path, gs://..., az://... or a directory"
            raise InvalidRequest.of_field("place", expected, url) from error

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate the errors of the store; the text stays in the log, as the cause."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (FileNotFoundError, BaseError, OSError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> FanlightError:
        kind = type(error).__name__
        if isinstance(error, FileNotFoundError) or kind == "NotFoundError":
            return NotFound(f"{self._name}: there is no such object")
        if kind in ("PermissionDeniedError", "UnauthenticatedError", "InvalidPathError"):
            return InvalidRequest(f"{self._name}: the store refuses access ({kind})")
        return NotReady(f"{self._name}: the store cannot be used ({kind})")

    def check_free(self) -> None:
        """Refuse a prefix that has objects."""
        with self.errors():
            found = next(iter(self._api.list(self._store, chunk_size=1)), None)
        if found:
            got = f"{self._name}, which has {found[0]['path']} in it"
            raise InvalidRequest.of_field("dest", "a place with no objects", got)

    def create(self, name: str) -> Sink:
        """Begin an upload."""
        with self.errors():
            return _ObjectSink(self, self._api.open_writer(self._store, name))

    def publish(self, name: str, blob: bytes) -> None:
        """Put a small object: stores do that whole or not at all."""
        with self.errors():
            self._api.put(self._store, name, blob)

    def open(self, name: str) -> Any:
        """Open an object; pyarrow reads what it needs by ranges."""
        import pyarrow as pa

        with self.errors():
            return pa.PythonFile(_Readable(self._api.open_reader(self._store, name)), mode="r")

    def read(self, name: str, most: int) -> bytes:
        """Read a small object."""
        with self.errors():
            found = self._api.get(self._store, name)
            if found.meta["size"] > most:
                raise Corruption(f"{name}: it is larger than {most} bytes")
            return bytes(found.bytes())

    def chunks(self, name: str) -> Iterator[bytes]:
        """Read an object from start to end."""
        with self.errors():
            for chunk in self._api.get(self._store, name).stream(min_chunk_size=_CHUNK_BYTES):
                yield bytes(chunk)

    def remove(self, names: Sequence[str]) -> None:
        """Delete objects, as far as possible."""
        for name in names:
            with suppress(FanlightError), self.errors():
                self._api.delete(self._store, name)

    def __str__(self) -> str:
        """Name the place."""
        return self._name


class _Readable:
    """A reader of obstore as the file that pyarrow expects: it gives bytes."""

    closed = False

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int = -1) -> bytes:
        return bytes(self._reader.read(None if size < 0 else size))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def close(self) -> None:
        self.closed = True
        self._reader.close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False
