"""Files in .tar(.gz/.bz2/.xz) and .zip archives, in sequence, as streams.

Nothing is written to disk, whatever the names in the archive say. Memory is bounded by what the caller reads at once.
An archive that unpacks to too much, is cut off or damaged ends with a `Skipped` that says so, after the files before
that point. Links, devices and encrypted files are skipped by name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

DAMAGED = "archive damaged"
TOO_MUCH = "archive unpacks to too much"
ENCRYPTED = "encrypted"
NO_FILE = "neither file nor folder"
TOO_LARGE = "too large"

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
_BETWEEN_MEMBERS = 4 << 20
"""Bytes a tar archive may spend on headers before one file: a header may claim to be gigabytes long."""
_FAULTS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    lzma.LZMAError,
    zlib.error,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one item and of an archive.

    `item` is the bytes of one mail, or of one file of calendars or cards. An archive may unpack to `ratio` times its
    size, or to `floor` bytes if that is more, and hold `members` files.
    """

    item: int = 64 << 20
    ratio: int = 200
    floor: int = 256 << 20
    members: int = 5_000_000


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something not imported, and the reason; `name` is its path for the user."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """One file: its folders and name.

    `open` is valid until the next member is read; it and its stream raise only `Broken`.
    """

    path: tuple[str, ...]
    name: str
    modified: float
    open: Callable[[], IO[bytes]]


class Broken(Exception):
    """A file cannot be read further; `reason` is as in `Skipped`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Budget:
    """Bytes that may still be read, in all and of the present member."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.step = total

    def spend(self, count: int) -> None:
        self.total -= count
        self.step -= count
        if self.total < 0 or self.step < 0:
            raise Broken(TOO_MUCH)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Metered(io.RawIOBase):
    """A stream that raises only `Broken`, also when the budget is spent."""

    def __init__(self, inner: _Readable, budget: _Budget | None = None) -> None:
        super().__init__()
        self._inner = inner
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._inner.read(len(buffer))
        except _FAULTS as exc:
            raise Broken(DAMAGED) from exc
        if self._budget is not None:
            self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


def is_archive(path: Path) -> bool:
    """Return whether the name is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def members(path: Path, limits: Limits) -> Iterator[Member | Skipped]:
    """Yield the files of an archive in order; its content decides the format."""
    budget = _Budget(max(limits.floor, limits.ratio * path.stat().st_size))
    try:
        with path.open("rb") as file:
            start = file.read(6)
            file.seek(0)
            found = _zipped(file, budget) if start[:2] == b"PK" else _tarred(file, start, budget)
            for count, member in enumerate(found):
                if count >= limits.members:
                    yield Skipped(path.name, TOO_MUCH)
                    return
                yield member
    except Broken as broken:
        yield Skipped(path.name, broken.reason)
    except _FAULTS:
        yield Skipped(path.name, DAMAGED)


def _unpacking(file: IO[bytes], start: bytes) -> _Readable:
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)
    if start[:3] == b"BZh":
        return bz2.BZ2File(file)
    if start == b"\xfd7zXZ\0":
        return lzma.LZMAFile(file)
    return file


def _tarred(file: IO[bytes], start: bytes, budget: _Budget) -> Iterator[Member | Skipped]:
    budget.step = _BETWEEN_MEMBERS
    stream = io.BufferedReader(_Metered(_unpacking(file, start), budget), 1 << 16)
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        while (info := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined, unused-ignore] # it would remember them all
            budget.step = _BETWEEN_MEMBERS + info.size
            if info.isdir():
                continue
            content = tar.extractfile(info) if info.isreg() else None
            if content is None:
                yield Skipped(info.name, NO_FILE)
            else:
                yield Member(
                    _steps(info.name),
                    info.name,
                    float(info.mtime),
                    partial(_same, io.BufferedReader(_Metered(content))),
                )


def _same(content: IO[bytes]) -> IO[bytes]:
    return content


def _zipped(file: IO[bytes], budget: _Budget) -> Iterator[Member | Skipped]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if budget.total < 0:
                raise Broken(TOO_MUCH)
            if info.is_dir():
                continue
            if info.flag_bits & 1:
                yield Skipped(info.filename, ENCRYPTED)
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield Skipped(info.filename, NO_FILE)
            else:
                yield Member(_steps(info.filename), info.filename, _time(info), partial(_opened, archive, info, budget))


def _opened(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget) -> IO[bytes]:
    try:
        content = archive.open(info)
    except _FAULTS as exc:
        raise Broken(DAMAGED) from exc
    return io.BufferedReader(_Metered(content, budget), 1 << 16)


def _time(info: zipfile.ZipInfo) -> float:
    try:
        return datetime(*info.date_time, tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _steps(name: str) -> tuple[str, ...]:
    """Return the names of a path, without those that lead elsewhere."""
    return tuple(step for step in name.replace("\\", "/").split("/") if step not in ("", ".", ".."))
