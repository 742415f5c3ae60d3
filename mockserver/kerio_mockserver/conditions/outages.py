"""Periods in which the server refuses calls.

Refusal windows, folders that reindex, locks of the mailbox.

What begins with a count of calls or with the first call to a folder does not depend on timing; it ends by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from kerio_mockserver.conditions.model import Load, MailboxLock, RefusalWindow, Reindexing

REINDEXING = 4100
LOCKED = 4101
_FREE = ("Session.", "GET ", "POST ")  # needs no folder and no item, so reindexing and locks do not stop it


def folders_named(params: Any, depth: int = 3) -> Iterator[str]:
    """Return the uuids of the folders in parameters, by their own or items' ids."""
    if isinstance(params, str):
        parts = params.split("/")
        if parts[0] == "keriostorage:" and len(parts) > 5:
            yield parts[5]
    elif depth and isinstance(params, Mapping):
        for value in params.values():
            yield from folders_named(value, depth - 1)
    elif depth and isinstance(params, list | tuple):
        for value in params:
            yield from folders_named(value, depth - 1)


def starts(first: int, every: int | None, number: int) -> bool:
    """Return whether this call is number `first`, or a multiple of `every` later."""
    return number == first or (every is not None and number > first and (number - first) % every == 0)


class Outages:
    """The state of refusal windows, reindexing and locks under one `Load`."""

    def __init__(self, load: Load, seed: int | str, clock: Callable[[], float]) -> None:
        self._load = load
        self._seed = seed
        self._clock = clock
        self._calls = 0
        self._mailbox_calls = 0
        self._window: tuple[float, RefusalWindow] | None = None
        self._locked_until = 0.0
        self._reindexed: dict[tuple[int, str], float] = {}

    def refusing_window(self) -> RefusalWindow | None:
        """Count a call; return the window that refuses it, if one is open."""
        self._calls += 1
        for window in self._load.refusal_windows:
            if starts(window.first, window.every, self._calls):
                self._window = (self._clock() + window.seconds, window)
        if self._window is None or self._clock() >= self._window[0]:
            return None
        return self._window[1]

    def code(self, method: str, params: Any) -> int | None:
        """Count a call; return 4100 or 4101 if it cannot be served now."""
        if method.startswith(_FREE) or not (self._load.locks or self._load.reindexing):
            return None
        now = self._clock()
        self._mailbox_calls += 1
        for lock in self._load.locks:
            self._lock(lock, now)
        if now < self._locked_until:
            return LOCKED
        folders = list(dict.fromkeys(folders_named(params)))
        busy = [
            self._reindexing(index, reindexing, folder, now)
            for index, reindexing in enumerate(self._load.reindexing)
            for folder in folders
        ]
        return REINDEXING if any(busy) else None

    def _lock(self, lock: MailboxLock, now: float) -> None:
        if starts(lock.first, lock.every, self._mailbox_calls):
            self._locked_until = now + lock.seconds

    def _reindexing(self, index: int, reindexing: Reindexing, folder: str, now: float) -> bool:
        if reindexing.folder not in ("*", folder) and not reindexing.folder.endswith("/" + folder):
            return False
        if (
            reindexing.folder == "*"
            and Random(f"{self._seed}/reindexing-{index}/{folder}").random() >= reindexing.share
        ):
            return False
        return now < self._reindexed.setdefault((index, folder), now + reindexing.seconds)
