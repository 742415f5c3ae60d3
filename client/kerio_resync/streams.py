"""Makes standard output and standard error never raise and never block the work.

A stream that is closed, full or without a reader discards its data and keeps the reason (`failure`). Characters that
its encoding lacks are written as escapes. Data for a stalled reader is queued and written by a thread; at the end it is
discarded after `STALLED_READER_SECONDS` without progress. Commands whose result is their output (`digest`) wait for the
reader instead, as filters do (`wait_for_reader`).

Only the process's own descriptors are replaced, not streams that a test or a caller put into `sys`.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, TextIO

STALLED_READER_SECONDS = 10.0
CONGESTED_BYTES = 16 * 1024  # a backlog that is normal for a terminal
_PIPE_BYTES = getattr(select, "PIPE_BUF", 512)  # a write of this size does not block after select
_PLAIN = str.maketrans({"━": "=", "·": "-", "…": "...", "✓": "+", "✗": "x", "→": ">", "\N{REPLACEMENT CHARACTER}": "?"})


class OutputStream(io.RawIOBase):
    """A raw stream that writes to one descriptor, or discards after a failure."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self.failure: OSError | None = None
        self.waits = False  # block until the reader takes the data
        self._descriptor = descriptor
        self._is_terminal = os.isatty(descriptor)
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._pump: _Pump | None = None

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return self._is_terminal

    def writable(self) -> bool:
        """Tell that the stream can be written."""
        return True

    def write(self, data: Any, /) -> int:
        """Write, queue or, after a failure, discard `data`; return its length."""
        piece = bytes(data)
        if self.failure is None:
            if self.waits or self._is_file:
                self._write_all(piece)
            elif self._pump or self._is_terminal:
                self._postpone(piece)
            else:
                self._write_some(piece)
        return len(piece)

    @property
    def backlog(self) -> int:
        """Bytes that are queued for the reader."""
        return self._pump.backlog if self._pump and self.failure is None else 0

    def _write_some(self, piece: bytes) -> None:
        """Write at once while that does not block, and queue the rest."""
        while piece and self.failure is None:
            if not _has_room(self._descriptor, 0):
                self._postpone(piece)
                return
            self._write_all(piece[:_PIPE_BYTES])
            piece = piece[_PIPE_BYTES:]

    def _write_all(self, piece: bytes) -> None:
        try:
            while piece:
                try:
                    piece = piece[os.write(self._descriptor, piece) :]
                except BlockingIOError:  # another process made the shared descriptor non-blocking
                    _has_room(self._descriptor, None)
        except OSError as error:
            self.failure = error

    def _postpone(self, piece: bytes) -> None:
        if self._pump is None:
            self._pump = _pump_to(self._descriptor)
        self._pump.put(self._write_unless_failed, piece)

    def _write_unless_failed(self, piece: bytes) -> None:
        if self.failure is None:
            self._write_all(piece)


class _Pump:
    """A thread that writes queued data in order, for all streams to the same file."""

    def __init__(self) -> None:
        import _thread
        from queue import SimpleQueue

        self._queued = self._written = 0
        self._queue: SimpleQueue[tuple[Callable[[bytes], None], bytes]] = SimpleQueue()
        _thread.start_new_thread(self._run, ())

    @property
    def backlog(self) -> int:
        """Bytes not yet written."""
        return self._queued - self._written

    def put(self, write: Callable[[bytes], None], piece: bytes) -> None:
        """Queue `piece` for `write`."""
        self._queued += len(piece)
        self._queue.put((write, piece))

    def _run(self) -> None:
        while True:
            write, piece = self._queue.get()
            for start in range(0, len(piece), _PIPE_BYTES):
                write(part := piece[start : start + _PIPE_BYTES])
                self._written += len(part)


_pumps: dict[tuple[int, int], _Pump] = {}
_skip_drain: list[bool] = []


def _pump_to(descriptor: int) -> _Pump:
    try:
        status = os.fstat(descriptor)
        place = status.st_dev, status.st_ino
    except OSError:
        place = -1, descriptor
    if place not in _pumps:
        _pumps[place] = _Pump()
    return _pumps[place]


def _has_room(descriptor: int, seconds: float | None) -> bool:
    try:
        return bool(select.select([], [descriptor], [], seconds)[1])
    except (OSError, ValueError):  # not a socket, on Windows
        return False


def prepare() -> None:
    """Replace the standard streams; must run before other files are opened."""
    reopen_closed()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream: TextIO | None = getattr(sys, name)
        if os.name == "nt" and stream is not None and stream.isatty():
            stream.reconfigure(errors="readable")  # type: ignore[attr-defined]
        else:
            setattr(sys, name, text(descriptor, f"<{name}>", stream))
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends


def reopen_closed() -> None:
    """Open the null device at each of the descriptors 0 to 2 that is closed.

    The next file would get that number and receive standard output, and libuv would abort.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def text(descriptor: int, name: str, like: IO[str] | None = None) -> TextIO:
    """Return a safe text stream for a descriptor, with the encoding of `like`."""
    if like is not None:
        with suppress(OSError, ValueError):
            like.flush()
    buffer = io.BufferedWriter(OutputStream(descriptor, name))
    lines = descriptor == 2 or os.isatty(descriptor)
    return io.TextIOWrapper(
        buffer, encoding=getattr(like, "encoding", None) or "utf-8", errors="readable", line_buffering=lines
    )


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Encode our own symbols as ASCII and other characters as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = (
        f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else letter.translate(_PLAIN)
        for letter in letters
    )
    return "".join(plain).encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error("readable", _readable)


def raw(stream: IO[str] | None) -> OutputStream | None:
    """Return the OutputStream of a text stream; None for other streams."""
    found = getattr(getattr(stream, "buffer", None), "raw", None)
    return found if isinstance(found, OutputStream) else None


def is_congested(stream: IO[str]) -> bool:
    """Return whether the reader is so far behind that progress should be left out."""
    below = raw(stream)
    return below is not None and below.backlog > CONGESTED_BYTES


def has_backlog(stream: IO[str]) -> bool:
    """Return whether data is queued for the reader."""
    below = raw(stream)
    return below is not None and below.backlog > 0


def failure(stream: IO[str]) -> OSError | None:
    """Return the error after which the stream discards its data, or None."""
    below = raw(stream)
    return below.failure if below is not None else None


def wait_for_reader() -> None:
    """Make standard output block until its reader takes the data."""
    below = raw(sys.stdout)
    if below is not None:
        below.waits = True


def skip_waiting() -> None:
    """End the current and later calls of `drain` at once."""
    _skip_drain.append(True)


def drain(seconds: float | None = None) -> None:
    """Flush both streams, and wait until their queues are empty.

    Give up after `seconds` (STALLED_READER_SECONDS) without progress.
    """
    seconds = STALLED_READER_SECONDS if seconds is None else seconds
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, RuntimeError):
            stream.flush()
    for pump in tuple(_pumps.values()):
        left, end, pause = pump.backlog, time.monotonic() + seconds, 0.0005
        while left and not _skip_drain and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
            if pump.backlog != left:
                left, end = pump.backlog, time.monotonic() + seconds


def finish() -> None:
    """Drain both streams and discard the rest, so that Python's flush cannot block."""
    drain()
    for stream in (sys.stdout, sys.stderr):
        below = raw(stream)
        if below is not None and below.backlog:
            below.failure = TimeoutError("the reader is stalled")


def write_at_once(descriptor: int, line: str) -> None:
    """Write a line past all buffers, unless that blocks, before a hard exit."""
    with suppress(OSError, ValueError):
        if _has_room(descriptor, 0):
            os.write(descriptor, line.encode("ascii", "backslashreplace"))
