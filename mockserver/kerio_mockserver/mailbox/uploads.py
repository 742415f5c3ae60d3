"""Uploaded files until an item uses them, bounded in number, bytes and time."""

from __future__ import annotations

from collections import OrderedDict

from kerio_mockserver.mailbox.blobs import Attached

MAX_FILES = 1000
MAX_BYTES = 512 << 20
MAX_AGE_SECONDS = 6 * 3600.0


class Uploads:
    """The newest files by id; the oldest are dropped."""

    def __init__(self, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> None:
        self._max_files = max_files
        self._max_bytes = max_bytes
        self._files: OrderedDict[str, tuple[float, Attached]] = OrderedDict()
        self._bytes = 0
        self.count = 0  # uploads so far

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, upload_id: object) -> bool:
        return upload_id in self._files

    def __getitem__(self, upload_id: str) -> Attached:
        return self._files[upload_id][1]

    def put(self, upload_id: str, file: Attached, now: float) -> None:
        """Keep a file; `now` is the server's clock in seconds."""
        self.count += 1
        self._files[upload_id] = (now, file)
        self._bytes += len(file.blob)
        while len(self._files) > 1 and self._too_much(now):
            _, (_, oldest) = self._files.popitem(last=False)
            self._bytes -= len(oldest.blob)

    def _too_much(self, now: float) -> bool:
        at, _ = next(iter(self._files.values()))
        return len(self._files) > self._max_files or self._bytes > self._max_bytes or now - at > MAX_AGE_SECONDS
