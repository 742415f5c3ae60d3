"""A folder of generated files that never replaces or deletes another file.

`files.json` in the folder names each file with the SHA-256 of what was written. A file that is not named there, or that
was edited since, is foreign. The files are first written below `.unfinished` and then moved to their places, so that a
run that fails changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from filelock import FileLock, Timeout

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import translate_os_error, write_private

LIST_NAME: Final = "files.json"
_FORMAT: Final = "kerio-resync-files"
_STAGE: Final = ".unfinished"
_LOCK: Final = ".lock"
_OWN_NAMES: Final = frozenset({LIST_NAME, _STAGE, _LOCK})
_MAX_NAMED: Final = 3  # files in a message
_ADVICE: Final = "move {them} away, or choose another folder"


class OwnedFolder:
    """The folder at `path`, which is empty, missing, or was written by an earlier run.

    BadSettings for any other, and if another process writes to it. `notes` are values for the next run, such as JSON
    can have. Use it as a context manager: `stage` each file, then `commit`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.notes = path, dict[str, Any]()
        self._known: dict[str, list[str]] = {}  # name → the digests that it may have
        self._staged: dict[str, str] = {}
        self._is_new = not os.path.lexists(path)
        self._lock = FileLock(path / _LOCK, mode=0o600)

    def __enter__(self) -> OwnedFolder:
        with _file_errors(self.path):
            check_folder(self.path)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise BadSettings(f"another process writes to {self.path}; run again when it is done") from None
            try:
                self._known, self.notes = _read_list(self.path)
                self._require_own(self._known)
                shutil.rmtree(self.path / _STAGE, ignore_errors=True)
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path / _STAGE, ignore_errors=True)
        self._lock.release()
        if self._is_new and not (self.path / LIST_NAME).exists():
            (self.path / _LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                self.path.rmdir()

    def stage(self, name: str, content: bytes) -> None:
        """Write one file, which takes its place with `commit`.

        `name`: with `/` between folders.
        """
        place = self.path / _STAGE / name
        with _file_errors(place):
            _make_private(place.parent)
            write_private(place, content, sync=False)
        self._staged[name] = hashlib.sha256(content).hexdigest()

    def commit(self) -> None:
        """Move the staged files to their places.

        Files of earlier runs that are not among them are deleted.

        A process that is killed meanwhile leaves a folder that the next run can write again.
        """
        self._require_own(self._staged)
        both = {
            name: [
                *dict.fromkeys([*self._known.get(name, ()), *([self._staged[name]] if name in self._staged else ())])
            ]
            for name in {**self._known, **self._staged}
        }
        with _file_errors(self.path):
            self._write_list(both)
            for name in self._staged:
                place = self.path / name
                _make_private(place.parent)
                (self.path / _STAGE / name).replace(place)
            for name in self._known.keys() - self._staged.keys():
                self._delete(name)
            self._write_list({name: [digest] for name, digest in self._staged.items()})

    def _delete(self, name: str) -> None:
        place = self.path / name
        place.unlink(missing_ok=True)
        for parent in place.parents:
            if parent == self.path:
                break
            with suppress(OSError):
                parent.rmdir()  # if it is empty now

    def _write_list(self, known: dict[str, list[str]]) -> None:
        content = {"format": _FORMAT, "version": 1, "notes": self.notes, "files": dict(sorted(known.items()))}
        part = self.path / _STAGE / LIST_NAME
        part.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(part, json.dumps(content, indent=1).encode())
        part.replace(self.path / LIST_NAME)

    def _require_own(self, names: dict[str, Any]) -> None:
        edited = [name for name in names if not self._is_own(name)]
        if not edited:
            return
        named = ", ".join(edited[:_MAX_NAMED]) + (f" and {len(edited) - _MAX_NAMED} more" * (len(edited) > _MAX_NAMED))
        how = "was not written by kerio-resync, or was edited since"
        if len(edited) > 1:
            how = "were not written by kerio-resync, or were edited since"
        them = "it" if len(edited) == 1 else "them"
        raise BadSettings(f"{named} in {self.path} {how}; {_ADVICE.format(them=them)}")

    def _is_own(self, name: str) -> bool:
        place = self.path / name
        inner = [parent for parent in place.parents if self.path in parent.parents]
        if any(parent.is_symlink() or (parent.exists() and not parent.is_dir()) for parent in inner):
            return False
        if not os.path.lexists(place):
            return True
        if place.is_symlink() or not place.is_file():
            return False
        return hashlib.sha256(place.read_bytes()).hexdigest() in self._known.get(name, ())


def check_folder(path: Path) -> None:
    """Raise BadSettings if `path` is not a place for an OwnedFolder.

    It must be missing, an empty folder, or a folder that an OwnedFolder wrote.
    """
    with _file_errors(path):
        if not os.path.lexists(path):
            return
        if not path.is_dir():
            raise BadSettings(f"{path} is not a folder; choose another one")
        if not (path / LIST_NAME).exists() and any(entry.name not in _OWN_NAMES for entry in path.iterdir()):
            raise BadSettings(f"{path} has other files; choose a folder that is empty or does not exist")


def _read_list(path: Path) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Return names with digests, and notes.

    BadSettings if the list is damaged or names a place outside.
    """
    place = path / LIST_NAME
    try:
        content = json.loads(place.read_bytes())
        if content["format"] != _FORMAT:
            raise ValueError
        known = {str(name): [str(digest) for digest in digests] for name, digests in content["files"].items()}
        notes = dict(content["notes"])
        if any(_leaves(name) for name in known):
            raise ValueError
    except FileNotFoundError:
        return {}, {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadSettings(f"{place} is damaged; choose another folder, or move it away with the other files") from None
    return known, notes


def _leaves(name: str) -> bool:
    return Path(name).is_absolute() or ".." in Path(name).parts or not Path(name).parts


def _make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner only."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = Path(os.fsdecode(error.filename)) if error.filename else path
        raise translate_os_error(error, where) from error
