"""Reads the lines of a log file within bounded memory, whatever the file is.

Plain text, gzip (by its first bytes, not by its name) and UTF-16 (what PowerShell 5 writes to a file) are read. A line
without its end is a line still being written: it is used if it is whole, and is no damage. A file is read as far as it
reached when it was opened.
"""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from kerio_resync.errors import ResyncError
from kerio_resync.filesystem import open_regular
from kerio_resync.os_errors import reason_of

MAX_LINE: Final = 1024 * 1024
HEAD_BYTES: Final = 4096  # that are kept of a longer line
GIVE_UP_BYTES: Final = 32 * 1024 * 1024  # without one line of ours: the file is something else
_CHUNK: Final = 256 * 1024
_GZIP: Final = b"\x1f\x8b"
_BOMS: Final = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_MARK: Final = b'"event"'  # each line of ours has it
# Takes a line, without its end; returns whether it is one of ours. `cut`: the line is the head of a longer one.
TakeLine = Callable[[bytes, bool], bool]


@dataclass(slots=True)
class FileReading:
    """How the reading of one file ended.

    `position`: where to continue once the file has grown; None if it must be read again from its start. `problem`: why
    it was not read, or not to its end, as part of a sentence. `unfinished`: its end is missing; it may be on its way.
    """

    position: int | None = 0
    problem: str = ""
    unfinished: bool = False


def read_file(path: Path, take: TakeLine, position: int = 0) -> FileReading:
    """Pass the lines of a file from `position` on to `take`. It never raises."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return _read(file, take, position)
    except FileNotFoundError:
        return FileReading(None, "it was removed while the folder was read")
    except OSError as error:
        return FileReading(None, reason_of(error))
    except ResyncError:  # of `open_regular`
        return FileReading(None, "it is not a regular file")


def _read(file: BinaryIO, take: TakeLine, position: int) -> FileReading:
    end = os.fstat(file.fileno()).st_size
    head = file.read(8192)
    file.seek(0)
    if head.startswith(_GZIP):
        return _read_gzip(file, take)
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            reading = _pass_lines(_recoded(_chunks(file, end), encoding), take)
            reading.position = None
            return reading
    if b"\0" in head and _MARK not in head:
        return FileReading(None, "it is not a text file")
    file.seek(position)
    reading = _pass_lines(_chunks(file, end - position), take)
    if reading.position is not None:
        reading.position += position
    return reading


def _read_gzip(file: BinaryIO, take: TakeLine) -> FileReading:
    reading = FileReading()
    try:
        reading = _pass_lines(_unpacked(file), take)
    except EOFError:
        reading.unfinished = True
    except zlib.error:
        reading.problem = "its compressed data is damaged"
    reading.position = None
    return reading


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a gzip file as far as it is there.

    It then raises EOFError if the end is missing.
    """
    unpacker = zlib.decompressobj(wbits=31)
    for packed in _chunks(file, None):
        data = packed
        while data:
            if unpacker.eof:  # gzip files may follow each other
                unpacker = zlib.decompressobj(wbits=31)
            yield unpacker.decompress(data, _CHUNK)
            data = unpacker.unused_data.lstrip(b"\0") if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        raise EOFError


def _chunks(file: BinaryIO, size: int | None) -> Iterator[bytes]:
    """Yield at most `size` bytes in pieces; None for all."""
    while size is None or size > 0:
        chunk = file.read(_CHUNK if size is None else min(_CHUNK, size))
        if not chunk:
            return
        if size is not None:
            size -= len(chunk)
        yield chunk


def _recoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).lstrip("\ufeff").encode("utf-8", "replace")


def _pass_lines(chunks: Iterator[bytes], take: TakeLine) -> FileReading:
    """Pass on the lines.

    Of a line that is too long, the head is passed as soon as it is known.
    """
    rest, skipping, used, wasted = b"", False, 0, 0
    for chunk in chunks:
        wasted += len(chunk)
        *lines, rest_of_chunk = chunk.split(b"\n")
        if lines:
            if not skipping:
                lines[0] = rest + lines[0]
            used += len(rest) + len(chunk) - len(rest_of_chunk)
            for line in lines[1:] if skipping else lines:
                if take(line, False):
                    wasted = 0
            rest, skipping = rest_of_chunk, False
        elif not skipping:
            rest += chunk
        else:
            used += len(chunk)
        if not skipping and len(rest) > MAX_LINE:
            if take(rest[:HEAD_BYTES], True):
                wasted = 0
            used += len(rest)
            rest, skipping = b"", True
        if wasted > GIVE_UP_BYTES:
            return FileReading(None, f"{GIVE_UP_BYTES // 2**20} MiB of it have no line of kerio-resync")
    if rest and is_whole(rest):
        take(rest, False)
        used += len(rest)
    return FileReading(None if skipping else used)


def is_whole(line: bytes) -> bool:
    """Return whether the last line of a file, without a line end, is a whole object."""
    return line.rstrip().endswith(b"}") and _MARK in line and _parses(line)


def _parses(line: bytes) -> bool:
    import orjson

    try:
        orjson.loads(line)
    except ValueError:
        return False
    return True
