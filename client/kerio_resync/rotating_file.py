"""A file of limited size that keeps a few predecessors."""

from __future__ import annotations

import logging
import os
import stat
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

# A symbolic link or a FIFO in its place is not opened.
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class RotatingFile(RotatingFileHandler):
    """A rotating file that only its owner can read; raises what goes wrong."""

    def __init__(self, path: Path, *, max_bytes: int, files: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=files - 1, encoding="utf-8")

    def write(self, line: str) -> None:
        """Append a line, and begin a new file before it if this one is full. OSError."""
        self.emit(logging.makeLogRecord({"msg": line}))

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, _FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{self.baseFilename} is not a regular file")
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        error = sys.exc_info()[1]
        assert error is not None
        raise error
