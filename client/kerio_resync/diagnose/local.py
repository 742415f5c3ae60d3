"""Checks this computer: versions, profile, disk, lock, and the cache.

They run without the network, in the order in which a rebuild would meet the trouble.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kerio_resync.cache.files import processes_holding, require_places
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.diagnose.findings import Emit, failure, of_error, ok, skipped, warning
from kerio_resync.errors import Exit, LocalError, NotEnoughSpace
from kerio_resync.events import Checked
from kerio_resync.filesystem import available_bytes, translate_os_error, write_private
from kerio_resync.settings import Settings
from kerio_resync.sync.disk_space import RESERVE_BYTES
from kerio_resync.sync.status import FileStatus, Status, status
from kerio_resync.version import VERSION

PROBE_BYTES: Final = 64 * 1024  # written to find a full disk, which may still have room for an empty file
SLOW_SYNC_SECONDS: Final = 0.5
LOCAL_CHECKS: Final = ("profile", "disk", "lock", "cache", "unfinished", "outbox")
_OTHERS: Final = 0o077  # permissions of other users
_WRITABLE: Final = 0o022


def check_version() -> Checked:
    """Name the program, Python and the system."""
    about = {
        "version": VERSION,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
    }
    found = f"kerio-resync {VERSION}, {about['implementation']} {about['python']}, {about['system']}"
    return ok("version", f"{found}, {about['machine']}", **about)


async def check_files(settings: Settings, emit: Emit) -> Status | None:
    """Check the profile and its files; return its status if it could be read."""
    profile = settings.profile
    found = check_profile(profile)
    emit(found)
    emit(check_disk(settings))
    if found.level == "failure" or not profile.exists():
        reason = "the profile cannot be used" if found.level == "failure" else "there is no profile folder yet"
        for name in LOCAL_CHECKS[2:]:
            emit(skipped(name, reason))
        return None
    emit(check_lock(settings))
    try:
        state = await status(settings)
    except LocalError as error:
        emit(of_error("cache", error))
        emit(skipped("unfinished", "the cache cannot be read"))
        emit(skipped("outbox", "the cache cannot be read"))
        return None
    for finding in (check_cache(state.cache), check_unfinished(state.building), check_outbox(state)):
        emit(finding)
    return state


def check_profile(profile: Path) -> Checked:
    """Check that the profile is a private folder that can be written to."""
    if not os.path.lexists(profile):
        parent = existing_folder(profile)
        if os.access(parent, os.W_OK | os.X_OK):
            return ok("profile", f"{profile} does not exist yet; the first rebuild creates it")
        return failure(
            "profile", f"{profile} does not exist, and {parent} is not writable", "Name another one with --profile",
            Exit.USAGE,
        )  # fmt: skip
    if not profile.is_dir():
        return failure("profile", f"{profile} is not a folder", "Name another one with --profile", Exit.USAGE)
    probe = profile / f".doctor-{os.getpid()}"
    try:
        require_places(profile)
        started = time.perf_counter()
        try:
            write_private(probe, bytes(PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
        seconds = time.perf_counter() - started
    except LocalError as error:
        return of_error("profile", error)
    except OSError as error:
        return _of_os_error("profile", error, profile / "cache.db")
    data = {"sync_seconds": round(seconds, 4)}
    if loose := list(_open_to_others(profile)):
        found = f"other users have access to {' and '.join(loose)} in {profile}"
        return warning("profile", found, f"Run `chmod -R go= {profile}`", **data)
    if seconds > SLOW_SYNC_SECONDS:
        return warning(
            "profile", f"{profile}: the disk takes {seconds:.1f} s to store {PROBE_BYTES // 1024} KiB safely",
            "Use a profile on a local disk", **data,
        )  # fmt: skip
    return ok("profile", f"{profile}, private and writable", **data)


def _of_os_error(check: str, error: OSError, path: Path) -> Checked:
    ours = translate_os_error(error, path)
    text = ours.detail
    if isinstance(ours, NotEnoughSpace):
        text = ours.sentence or f"the disk with {path.parent} is full. Free some space, then run again"
    found, _, advice = text.rstrip(".").partition(". ")
    return failure(check, found, advice, ours.exit)


def _open_to_others(profile: Path) -> Iterator[str]:
    """Yield what other users can read or change.

    Files in a private folder are out of their reach.
    """
    mode = profile.stat().st_mode
    if os.name == "nt" or not mode & _OTHERS:
        return
    if mode & _WRITABLE:
        yield "the folder"
    for name in ("cache.db", "cache.db.next", "profile.toml", "kerio-resync.log"):
        path = profile / name
        if path.exists() and path.stat().st_mode & _OTHERS:
            yield name


def check_disk(settings: Settings) -> Checked:
    """Compare the free room with the size of the cache, which a rebuild replaces."""
    cache = settings.cache
    place = existing_folder(cache)
    free = available_bytes(place)
    present = cache.stat().st_size if cache.is_file() else 0
    needed = present + RESERVE_BYTES
    text = f"{_mib(free)} free at {place}, {_mib(needed)} needed"
    text += f" (a new cache of {_mib(present)} beside the old one)" if present else " at least, with an empty mailbox"
    data = {"free_bytes": free, "needed_bytes": needed}
    if free < RESERVE_BYTES:
        return failure("disk", text, "Free some space", Exit.NOT_ENOUGH_SPACE, **data)
    if free < needed:
        return warning("disk", text, "Free some space, or use `kerio-resync rebuild --drop-first`", **data)
    return ok("disk", text, **data)


def existing_folder(path: Path) -> Path:
    """Return the folder nearest above `path` that exists."""
    return next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))


def check_lock(settings: Settings) -> Checked:
    """Name the process that has the profile or the cache open."""
    if holder := ProfileLock(settings.profile).holder():
        return failure("lock", f"the profile is in use by {holder}", "Wait for it, or end it", Exit.IN_USE)
    if holders := processes_holding(settings.cache):
        names = ", ".join(holders)
        return failure("lock", f"the cache is open in {names}", "Close the mail program", Exit.IN_USE)
    return ok("lock", "no other program uses the profile")


def check_cache(file: FileStatus) -> Checked:
    """Tell the state of the cache."""
    data: dict[str, Any] = {"state": file.state, "bytes": file.bytes}
    match file.state:
        case "absent":
            return ok("cache", "there is none yet; `kerio-resync rebuild` makes it", **data)
        case "ready":
            items = sum(file.items.values())
            found = f"{_mib(file.bytes)}, {items:,} items in {file.folders:,} folders"
            found += f", finished {file.finished_at}" if file.finished_at else ""
            if file.wanted or file.attachments_wanted:
                found += f"; {file.wanted:,} items and {file.attachments_wanted:,} attachments are still to be fetched"
                return warning("cache", found, "Run `kerio-resync rebuild`", **data)
            return ok("cache", found, **data)
        case "old":
            return warning("cache", "it has an older format", "Run `kerio-resync upgrade`", **data)
    return failure(
        "cache", file.problem or f"it is {file.state}",
        "Run `kerio-resync rebuild`; unsent changes are kept where they can be read", Exit.REBUILD_NEEDED, **data,
    )  # fmt: skip


def check_unfinished(file: FileStatus) -> Checked:
    """Tell the state of an unfinished rebuild."""
    data: dict[str, Any] = {"state": file.state, "bytes": file.bytes}
    if file.state == "absent":
        return ok("unfinished", "no interrupted rebuild", **data)
    if file.state != "building":
        return warning(
            "unfinished", f"the unfinished cache is {file.state}: {file.problem}",
            "Run `kerio-resync rebuild`, which starts over", **data,
        )  # fmt: skip
    found = f"an interrupted rebuild: {_mib(file.bytes)}, {sum(file.items.values()):,} items so far"
    return warning("unfinished", found, "Run `kerio-resync rebuild` to resume it", **data)


def check_outbox(state: Status) -> Checked:
    """Count the changes that the server does not have."""
    counts: dict[str, int] = {}
    for row in state.outbox:
        counts[str(row["state"])] = counts.get(str(row["state"]), 0) + 1
    aside = len(state.set_aside)
    if not counts and not aside:
        return ok("outbox", "no unsent changes", states=counts)
    parts = [f"{count:,} {name}" for name, count in sorted(counts.items())]
    parts += [f"{aside:,} files set aside hold more"] if aside else []
    return warning(
        "outbox", f"local changes: {', '.join(parts)}", "`kerio-resync status` names them; `rebuild` sends them",
        states=counts, set_aside=aside,
    )  # fmt: skip


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count < 10 * 2**30 else f"{count / 2**30:,.0f} GiB"
