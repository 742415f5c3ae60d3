"""Writes a file under a temporary name, and renames it when it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from kerio_resync.export.mime_writer import ContentEncoder, Piece
from kerio_resync.export.read_cache import CacheReader
from kerio_resync.filesystem import translate_os_error

_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def mapped_os_errors(path: Path) -> Iterator[None]:
    """Raise OSErrors of what is done at `path` as ours."""
    try:
        yield
    except OSError as error:
        raise translate_os_error(error, Path(os.fsdecode(error.filename)) if error.filename else path) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, for their owner only."""
    with mapped_os_errors(path):
        for folder in (*reversed(path.parents), path):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)


class Output(Protocol):
    """Something that takes bytes."""

    def write(self, data: bytes) -> None:
        """Take bytes."""
        ...


def put_file(temporary: str, path: str, data: bytes, modified: float) -> None:
    """Write a file as a whole under a temporary name, and give it its name and time."""
    try:
        descriptor = os.open(temporary, _FLAGS | os.O_TRUNC, 0o600)
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, memoryview(data)[written:])
            os.utime(descriptor, (modified, modified))
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise translate_os_error(error, Path(temporary)) from error
        raise


class NewFile:
    """A file that gets its name when it is complete; else it is removed.

    `start`: bytes of an unfinished file to keep. `keep_part`: leave an unfinished file for the next run.
    """

    def __init__(self, temporary: str, *, start: int = 0, keep_part: bool = False) -> None:
        self.temporary = temporary
        self.size = start
        self._keep_part = keep_part
        try:
            self._descriptor = os.open(temporary, _FLAGS if start else _FLAGS | os.O_TRUNC, 0o600)
            if start:
                os.ftruncate(self._descriptor, start)
                os.lseek(self._descriptor, start, os.SEEK_SET)
        except OSError as error:
            raise translate_os_error(error, Path(temporary)) from error

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.size += len(data)
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError as error:
            raise translate_os_error(error, Path(self.temporary)) from error

    def commit(self, path: str, modified: float | None = None) -> None:
        """Give the file its name, and its time in seconds since 1970."""
        try:
            if modified is not None:
                os.utime(self._descriptor, (modified, modified))
            self._close()
            os.replace(self.temporary, path)
        except OSError as error:
            raise translate_os_error(error, Path(path)) from error

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            self._close()
        if error is not None and not self._keep_part:
            with suppress(OSError):
                os.unlink(self.temporary)


async def write_pieces(out: Output, pieces: list[Piece], reader: CacheReader) -> None:
    """Write pieces; stored contents are read and encoded in chunks."""
    for piece in pieces:
        if isinstance(piece, bytes):
            out.write(piece)
            continue
        encoder = ContentEncoder(piece.encoding)
        async for chunk in reader.content(piece.content):
            out.write(encoder.feed(chunk))
        out.write(encoder.end())
