"""When the server says no: spells in which it refuses everything, folders that reindex, operations that hold the
mailbox.

What begins by a count of calls or by the first call to a folder begins there whatever the timing; it ends on the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from kerio_mockserver.conditions.model import Load, MailboxLock, RefusalWindow, Reindexing

REINDEXING = 4100
HELD = 4101
_FREE = ("Session.", "GET ", "POST ")  # what needs no folder and no item: not stopped by reindexing or holding


def folders_named(params: Any, depth: int = 3) -> Iterator[str]:
    """The uuids of the folders that a call's params name, as folders or by items in them (duplicates included)."""
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
    """Whether something that starts with the `first` call and every `every` further ones starts with this one."""
    return number == first or (every is not None and number > first and (number - first) % every == 0)


class Outages:
    """The state of spells, reindexing and holds under one `Load`."""

    def __init__(self, load: Load, seed: int | str, clock: Callable[[], float]) -> None:
        self._load = load
        self._seed = seed
        self._clock = clock
        self._calls = 0
        self._mailbox_calls = 0
        self._spell: tuple[float, RefusalWindow] | None = None
        self._held_until = 0.0
        self._reindexed: dict[tuple[int, str], float] = {}

    def spell(self) -> RefusalWindow | None:
        """Counts a call; the spell that refuses it, if one is on."""
        self._calls += 1
        for spell in self._load.spells:
            if starts(spell.first, spell.every, self._calls):
                self._spell = (self._clock() + spell.seconds, spell)
        if self._spell is None or self._clock() >= self._spell[0]:
            return None
        return self._spell[1]

    def code(self, method: str, params: Any) -> int | None:
        """Counts a call; 4100 or 4101 if it can't be served now."""
        if method.startswith(_FREE) or not (self._load.holds or self._load.reindexing):
            return None
        now = self._clock()
        self._mailbox_calls += 1
        for hold in self._load.holds:
            self._hold(hold, now)
        if now < self._held_until:
            return HELD
        folders = list(dict.fromkeys(folders_named(params)))
        busy = [
            self._reindexing(index, one, folder, now)
            for index, one in enumerate(self._load.reindexing)
            for folder in folders
        ]
        return REINDEXING if any(busy) else None

    def _hold(self, hold: MailboxLock, now: float) -> None:
        if starts(hold.first, hold.every, self._mailbox_calls):
            self._held_until = now + hold.seconds

    def _reindexing(self, index: int, one: Reindexing, folder: str, now: float) -> bool:
        if one.folder not in ("*", folder) and not one.folder.endswith("/" + folder):
            return False
        if one.folder == "*" and Random(f"{self._seed}/reindexing-{index}/{folder}").random() >= one.share:
            return False
        return now < self._reindexed.setdefault((index, folder), now + one.seconds)
