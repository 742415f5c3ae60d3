"""Which formats there are, and which of them can be upgraded to which: one entry an upgrade.

A later version adds its entry to `UPGRADES`; a database that is two entries behind takes both steps, one whole upgrade
after the other. What does the work is imported when it is needed only, because this is read at every start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

APPLICATION_ID: Final = 0x4B525343  # of every format since 7.2; older ones have 0


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """What carrying a database over comes to, in bytes: `needed` on the disk beside it, `live` of it are to be read."""

    needed: int
    live: int
    items: int = 0


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What was carried over, and proven. `old_bytes`: the size of the old file, `new_bytes` of the new one."""

    items: int = 0
    contents: int = 0
    pending: int = 0
    old_bytes: int = 0
    new_bytes: int = 0
    seconds: float = 0.0
    resumed: bool = False


class ProgressCallback(Protocol):
    def __call__(self, phase: str, done: int, total: int, items: int, all_items: int) -> None:
        """Hears about progress, in bytes; called from another thread."""
        ...


class Migration(Protocol):
    """A module (or any object) that makes a database of the next format out of one of the former."""

    def survey(self, old: Path, new: Path) -> SizeEstimate:
        """What it comes to, quickly. `new` may be there in part. CacheDamaged, CacheInUse."""
        ...

    def migrate(self, old: Path, new: Path, tell: ProgressCallback, stop: threading.Event) -> MigrationResult:
        """Builds `new` from `old` (going on with one that was begun), proves it, and puts it in `old`'s place.

        Everything or nothing: until the last step `old` stays as it is. CacheDamaged, CacheInUse, NotEnoughSpace;
        InterruptedError once `stop` is set.
        """
        ...


@dataclass(frozen=True, slots=True)
class Upgrade:
    """From one version (`user_version` of the file) to the next; `work` gives what does it."""

    before: int
    after: int
    work: Callable[[], Migration]


def _module(name: str) -> Callable[[], Migration]:
    return lambda: cast(Migration, import_module(f"kerio_resync.upgrade.{name}"))


UPGRADES: Final[tuple[Upgrade, ...]] = (Upgrade(70100, 70200, _module("migration.format71")),)


def target(upgrades: Sequence[Upgrade]) -> int:
    """The version that this program works with."""
    return upgrades[-1].after


def path_from(version: int, upgrades: Sequence[Upgrade]) -> tuple[Upgrade, ...]:
    """The upgrades that lead from `version` to the present one; () if none do."""
    for place, upgrade in enumerate(upgrades):
        if upgrade.before == version:
            return tuple(upgrades[place:])
    return ()


def format_version(version: int) -> str:
    """70200 → `7.2.0`."""
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"
