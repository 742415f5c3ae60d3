"""The database formats: their detection, and the migrations to the current one.

`UPGRADES` has a migration for each older format. A migration writes through today's tables, so each one leads to the
current format, and a database is migrated once, however old it is. Entries may also form a chain: a database is
migrated again as long as there is an entry for its format. Every start of the mail program imports this module, so it
reads no more than a file's first hundred bytes, and migrations are imported when they are needed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Literal, Protocol, cast

from kerio_resync.cache.header import is_mid_change, read_header
from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import real_place

APPLICATION_ID: Final = 0x4B525343  # of every format since FIRST_MARKED; older formats have 0
FIRST_MARKED: Final = 70200
FormatState = Literal["absent", "current", "old", "newer", "unknown", "damaged", "unreadable", "mid-change"]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What a database file is. `version`: its `user_version`, or 0; `bytes`: its size."""

    state: FormatState
    version: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """The work of a migration.

    `needed`: bytes on the disk; `live`: bytes in use in the old file; `items`: its items.
    """

    needed: int
    live: int
    items: int = 0


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What was migrated and verified, and the sizes of both files in bytes."""

    items: int = 0
    contents: int = 0
    pending: int = 0
    old_bytes: int = 0
    new_bytes: int = 0
    seconds: float = 0.0
    resumed: bool = False


class ProgressCallback(Protocol):
    """Receives the progress of a migration, often and from any thread."""

    def __call__(self, phase: str, done: int, total: int, items: int, all_items: int) -> None:
        """`phase` is upgrade or verify; `done` and `total` are bytes."""
        ...


class Migration(Protocol):
    """A module or object that migrates a database from one format to a later one."""

    def survey(self, old: Path, new: Path) -> SizeEstimate:
        """Return the work of the migration, quickly.

        `new` may be there in part. CacheDamaged, CacheInUse.
        """
        ...

    def migrate(self, old: Path, new: Path, report: ProgressCallback, stop: threading.Event) -> MigrationResult:
        """Build `new` from `old`, verify it, and put it in the place of `old`.

        An unfinished `new` is resumed.

        `old` is unchanged until the last step. CacheDamaged, CacheInUse, NotEnoughSpace; InterruptedError once `stop`
        is set.
        """
        ...

    def measure_sample(self, old: Path, new: Path, max_bytes: int) -> tuple[int, float]:
        """Migrate about `max_bytes` of `old` to the scratch file `new`; verify them.

        Return the bytes and the seconds. CacheDamaged, CacheInUse.
        """
        ...


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A migration from one version (the file's `user_version`) to a later one."""

    before: int
    after: int
    load: Callable[[], Migration]


def _module(name: str) -> Callable[[], Migration]:
    return lambda: cast(Migration, import_module(f"kerio_resync.upgrade.migration.{name}"))


UPGRADES: Final[tuple[Upgrade, ...]] = (
    Upgrade(70100, 70300, _module("format71")),
    Upgrade(70200, 70300, _module("format72")),
)


def target(upgrades: Sequence[Upgrade]) -> int:
    """Return the version that this program works with."""
    return max(upgrade.after for upgrade in upgrades)


def path_from(version: int, upgrades: Sequence[Upgrade]) -> tuple[Upgrade, ...]:
    """Return the upgrades that lead from `version` to today's format.

    () if there are none.
    """
    path = []
    for upgrade in upgrades:  # in the order of their versions
        if upgrade.before == version:
            path.append(upgrade)
            version = upgrade.after
    return tuple(path)


def format_version(version: int) -> str:
    """Return the name of a version: 70200 is `7.2.0`."""
    return f"{version // 10000}.{version // 100 % 100}.{version % 100}"


def detect_format(path: Path, upgrades: Sequence[Upgrade] = UPGRADES, *, settled: bool = False) -> FileFormat:
    """Return what is at `path`, from the first hundred bytes.

    Nothing that is there raises an error.

    The state is "mid-change" if a journal beside the file may change it when SQLite opens it; with `settled`, because
    SQLite has just opened it or the database is in use, the journal is ignored.
    """
    path = real_place(path)
    try:
        header = read_header(path)
        changing = is_mid_change(path)
        if changing and not settled:
            return FileFormat("mid-change", header.version, header.bytes)
        # read twice, because a program that is writing to the file makes it look cut short for a moment
        damaged = not header.valid or (header.cut_short and not changing and read_header(path) == header)
    except FileNotFoundError:
        return FileFormat("absent")
    except (OSError, BadSettings):
        return FileFormat("unreadable")
    state = "damaged" if damaged else _state(header.mark, header.version, upgrades)
    return FileFormat(state, header.version if header.valid else 0, header.bytes)


def _state(application_id: int, version: int, upgrades: Sequence[Upgrade]) -> FormatState:
    if application_id != (APPLICATION_ID if version >= FIRST_MARKED else 0):
        return "unknown"
    if version == target(upgrades):
        return "current"
    if version > target(upgrades):
        return "newer"
    return "old" if path_from(version, upgrades) else "unknown"
