"""What an export has written into a folder: `.kerio-resync-export.json`.

It names the mailbox, so that the mails of two mailboxes are not mixed, and each file that holds several items, with its
size and time: only a file that is as it was written is replaced. Files of single items are recognised by their names.
After a power cut, files that the last run wrote may be incomplete, and are written again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kerio_resync.errors import BadSettings, OtherAccount, TargetInUse
from kerio_resync.export.files import make_folder, mapped_os_errors
from kerio_resync.filesystem import open_regular
from kerio_resync.identity import describe, same_mailbox
from kerio_resync.model import Identity

RECORD_NAME: Final = ".kerio-resync-export.json"
LOCK_NAME: Final = ".kerio-resync-export.lock"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_IDENTITY: Final = ("server", "account", "user", "address", "login", "protocol")
_CLOCK_SECONDS: Final = 5.0  # by which the clock of a file system may differ


@dataclass(slots=True)
class ExportRecord:
    """The record of a folder.

    `files`: size, time and fingerprint by path. `partial`: fingerprint, items and bytes of unfinished files.
    """

    folder: Path
    identity: Identity
    dry_run: bool = False
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    partial: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_new: bool = False
    _started: float = 0.0
    _doubtful_since: float | None = None  # when the run began that a power cut may have ended

    @classmethod
    def load(cls, folder: Path, identity: Identity, *, dry_run: bool = False) -> ExportRecord:
        """Read the record of a folder; make both unless `dry_run`.

        OtherAccount if the folder holds the export of another mailbox. BadSettings.
        """
        record = cls(folder, identity, dry_run, _started=time.time())
        with mapped_os_errors(folder):
            if folder.exists() and not folder.is_dir():
                raise BadSettings(f"{folder} is not a folder; name another one")
            if not dry_run:
                make_folder(folder)
            if not (folder / RECORD_NAME).exists():
                record.is_new = True
                record.save()
                return record
            stored = _parsed(folder / RECORD_NAME)
        owner = Identity(**{name: str(stored.get("mailbox", {}).get(name, "")) for name in _IDENTITY})
        if not same_mailbox(owner, identity):
            raise OtherAccount(
                f"{folder} holds the export of {describe(owner)}, not of {describe(identity)}, and was left as it is:"
                " export into another folder"
            )
        record.files, record.partial = stored["files"], stored["partial"]
        if not stored.get("finished") and stored.get("boot") != _boot_id():
            record._doubtful_since = float(stored.get("started", 0.0)) - _CLOCK_SECONDS
            record.partial = {}
        record.save()
        return record

    def save(self, *, finished: bool = False) -> None:
        """Write the record."""
        if self.dry_run:
            return
        value = {
            "about": "written by kerio-resync export; see docs/export.md",
            "mailbox": {name: getattr(self.identity, name) for name in _IDENTITY},
            "started": self._started,
            "boot": _boot_id(),
            "finished": finished,
            "files": self.files,
            "partial": self.partial,
        }
        path = self.folder / RECORD_NAME
        new = path.with_name(f"{RECORD_NAME}.new")
        with mapped_os_errors(path):
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(value, file)
            new.replace(path)

    def is_complete(self, status: os.stat_result) -> bool:
        """Return whether a file of an earlier run is complete.

        It is not empty, and no power cut can have cut it short.
        """
        return status.st_size > 0 and (self._doubtful_since is None or status.st_ctime < self._doubtful_since)

    def may_replace(self, path: Path) -> bool:
        """Return whether a path is free, or has a file as an earlier run wrote it."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            return True
        known = self.files.get(self._key(path))
        if known is None:
            return False
        is_same = (status.st_size, status.st_mtime_ns) == (known["size"], known["mtime"])
        return is_same or not self.is_complete(status)

    def is_current(self, path: Path, fingerprint: str) -> bool:
        """Return whether a file is there, as it was written from the same items."""
        known = self.files.get(self._key(path))
        if known is None or known["sum"] != fingerprint or not self.may_replace(path):
            return False
        return path.exists() and self.is_complete(path.stat())

    def add(self, path: Path, fingerprint: str) -> None:
        """Record a file that was written."""
        status = path.stat()
        key = self._key(path)
        self.files[key] = {"size": status.st_size, "mtime": status.st_mtime_ns, "sum": fingerprint}
        self.partial.pop(key, None)

    def forget(self, path: Path) -> None:
        """Remove a file from the record."""
        self.files.pop(self._key(path), None)
        self.save()

    def begin_part(self, path: Path, fingerprint: str) -> tuple[int, int]:
        """Return the items and bytes of an unfinished file of the same items."""
        known = self.partial.get(self._key(path), {})
        return (known["items"], known["bytes"]) if known.get("sum") == fingerprint else (0, 0)

    def add_part(self, path: Path, fingerprint: str, items: int, size: int) -> None:
        """Record how far an unfinished file is written."""
        self.partial[self._key(path)] = {"sum": fingerprint, "items": items, "bytes": size}
        self.save()

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


@contextmanager
def locked(folder: Path, *, dry_run: bool = False) -> Iterator[None]:
    """Hold the lock of a folder. TargetInUse if another export has it."""
    if dry_run:
        yield
        return
    from filelock import FileLock, Timeout

    with mapped_os_errors(folder):
        make_folder(folder)
        lock = FileLock(folder / LOCK_NAME, timeout=0, mode=0o600)
        try:
            lock.acquire()
        except Timeout:
            raise TargetInUse(f"another export is writing to {folder}; wait for it, then run again") from None
    try:
        yield
    finally:
        lock.release()
        (folder / LOCK_NAME).unlink(missing_ok=True)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with os.fdopen(open_regular(path, links=False), "rb") as file:
            value = json.load(file)
    except ValueError:
        value = None
    fits = isinstance(value, dict) and all(
        isinstance(value.get(name), dict) for name in ("mailbox", "files", "partial")
    )
    if not fits:
        raise BadSettings(f"{path} is not the record of an export; move it away, or export into another folder")
    found: dict[str, Any] = value
    return found


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
