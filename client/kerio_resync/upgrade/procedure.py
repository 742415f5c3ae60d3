"""The upgrade procedure: detects the database's format, decides, and acts.

The profile is locked while a database is migrated, and the old database stays complete until the new one is verified
and takes its place. A failure leads back to the decision: without enough disk space the upgrade is postponed, and any
other failure leads to a rebuild and is remembered for this very file.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from kerio_resync.cache.files import processes_holding, raise_unreadable, require_places
from kerio_resync.errors import CacheDamaged, CacheInUse, NotEnoughSpace
from kerio_resync.events import Listener, Notice, PhaseChanged, Progress, ignore_events
from kerio_resync.filesystem import available_bytes
from kerio_resync.upgrade import attempt_log, launcher
from kerio_resync.upgrade.decide import UNSENT_CHANGES, UpgradeDecision, UpgradeState, decide
from kerio_resync.upgrade.formats import (
    UPGRADES,
    FileFormat,
    Migration,
    MigrationResult,
    Upgrade,
    detect_format,
    format_version,
    path_from,
    target,
)

if TYPE_CHECKING:  # a start that has nothing to do needs no settings
    from kerio_resync.settings import Settings
    from kerio_resync.sync.rate_estimator import RateEstimator

PROGRESS_INTERVAL_SECONDS: Final = 0.25
VERIFY_SHARE: Final = 0.25  # of the time that copying takes
Rebuild = Callable[["Settings", Listener], Awaitable[Any]]
InTurn = Callable[[Listener], AbstractAsyncContextManager[Listener]]


async def upgrade(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    upgrades: Sequence[Upgrade] = UPGRADES,
    rebuild: Rebuild | None = None,
    free: Callable[[Settings], int] | None = None,
    in_turn: InTurn | None = None,
) -> UpgradeDecision:
    """Do what a start has to do about `settings.cache`, and return what that was.

    The decision says whether the mail program may start (`ready`), and the exit code (`exit`). CacheInUse if another
    program has the profile or the database; and the errors of `rebuild`, if the profile wants one at once. Cancelled,
    it stops soon, and the next run resumes. `in_turn` is entered before work that takes time, without a lock. Tests
    replace `upgrades`, `rebuild` and `free` (bytes on the disk).
    """
    require_places(settings.profile)
    found = await _recover_journal(settings, detect_format(settings.cache, upgrades), upgrades)
    procedure = _Procedure(settings, listen, upgrades, free or _free_bytes)
    if in_turn is None or not procedure.has_work(found):
        return await _upgrade_now(procedure, found, rebuild or _rebuild)
    async with in_turn(listen) as hear:
        # The mail program may have been started meanwhile.
        found = await _recover_journal(settings, detect_format(settings.cache, upgrades), upgrades)
        return await _upgrade_now(replace(procedure, listen=hear), found, rebuild or _rebuild)


async def _upgrade_now(procedure: _Procedure, found: FileFormat, rebuild: Rebuild) -> UpgradeDecision:
    settings, listen = procedure.settings, procedure.listen
    if found.state == "current":
        _require_no_other_run(settings)
        _clear_log(settings)
        version = format_version(found.version)
        return decide(UpgradeState("current", version, version))
    decision = await procedure.run(found)
    if decision.action != "rebuild":
        return decision
    for sentence in decision.sentences(str):
        listen(Notice(sentence))
    report = await rebuild(settings, listen)
    if report.unfinished:
        listen(Notice(UNSENT_CHANGES))
    _clear_log(settings)
    return replace(decision, done=True, summary={"rebuild": report.as_json()}, unfinished=report.unfinished)


def start(settings: Settings, command: Sequence[str], listen: Listener = ignore_events) -> int:
    """Upgrade, then replace this process by `command` if the database is ready.

    If it is not ready, return the exit code.

    BadSettings, before anything is done, if there is no such program; other errors as of `upgrade`.
    """
    return launcher.launch_when_ready(settings.profile, command, lambda: asyncio.run(upgrade(settings, listen)))


async def _recover_journal(settings: Settings, found: FileFormat, upgrades: Sequence[Upgrade]) -> FileFormat:
    """Let SQLite recover what a killed writer left beside the database.

    Nothing is done while another program has the database open.

    DiskTrouble says why a database cannot be read.
    """
    if found.state == "unreadable":
        raise_unreadable(settings.cache)
    if found.state != "mid-change":
        return found
    from kerio_resync.cache.lock import ProfileLock
    from kerio_resync.cache.swap import seal

    with suppress(CacheInUse, CacheDamaged), ProfileLock(settings.profile):
        if not processes_holding(settings.cache):
            await seal(settings.cache)
    return detect_format(settings.cache, upgrades, settled=True)


def _require_no_other_run(settings: Settings) -> None:
    """Raise CacheInUse while another run, such as a rebuild, has the profile."""
    if not (settings.profile / "kerio-resync.holder").exists():
        return
    from kerio_resync.cache.lock import ProfileLock

    if holder := ProfileLock(settings.profile).holder():
        raise CacheInUse(f"{settings.profile} is held by {holder}")


def _clear_log(settings: Settings) -> None:
    if (settings.profile / "upgrade.json").exists():
        attempt_log.write(settings.profile, attempt_log.NONE)


def _free_bytes(settings: Settings) -> int:
    return available_bytes(settings.cache)


async def _rebuild(settings: Settings, listen: Listener) -> Any:
    from kerio_resync.sync.rebuild import rebuild

    return await rebuild(settings, listen)


@dataclass(frozen=True, slots=True)
class _Procedure:
    """One run on a database that is not up to date."""

    settings: Settings
    listen: Listener
    upgrades: Sequence[Upgrade]
    free: Callable[[Settings], int]

    def has_work(self, found: FileFormat) -> bool:
        """Return whether there is anything to do but to tell the state."""
        return found.state != "current" and decide(self._state(found)).action in ("migrate", "rebuild")

    async def run(self, found: FileFormat) -> UpgradeDecision:
        """Migrate as often as needed.

        A rebuild is only decided, because it locks the profile itself.
        """
        if found.state != "old":
            _require_no_other_run(self.settings)
            return decide(self._state(found))
        from kerio_resync.cache.lock import ProfileLock

        before = format_version(found.version)
        with ProfileLock(self.settings.profile):
            decision: UpgradeDecision | None = None
            while (found := detect_format(self.settings.cache, self.upgrades)).state == "old":
                decision = await self._migrate_once(found)
                if not decision.done:
                    return decision
            if decision is None:  # another start was faster
                return decide(self._state(found))
            return replace(decision, facts=replace(decision.facts, version=before))

    async def _migrate_once(self, found: FileFormat) -> UpgradeDecision:
        """Migrate to the next format, or decide why not."""
        settings, state = self.settings, self._state(found)
        if state.failure or self._is_rebuild_unfinished():
            return decide(replace(state, begun=True))
        self.listen(PhaseChanged("upgrade"))
        migration = path_from(found.version, self.upgrades)[0].load()
        needed = 0
        try:
            needed = (await asyncio.to_thread(migration.survey, settings.cache, settings.next_cache)).needed
            decision = decide(replace(state, needed=needed))
            if decision.action == "migrate":
                result = await self._resume_or_restart(migration)
                attempt_log.write(settings.profile, attempt_log.NONE)
                return replace(decision, done=True, summary={"upgraded": asdict(result)})
        except NotEnoughSpace as error:
            self._drop_new()
            needed = max(error.needed, needed, state.free + 1)
            decision = decide(replace(state, needed=needed, free=min(error.available, needed - 1)))
        except CacheDamaged as error:
            self._drop_new()
            log = attempt_log.AttemptLog(state.attempts, error.detail, attempt_log.identity_of(settings.cache))
            attempt_log.write(settings.profile, log)
            return decide(replace(state, failure=error.detail))
        attempt_log.write(settings.profile, replace(attempt_log.read(settings.profile), attempts=state.attempts + 1))
        return decision

    async def _resume_or_restart(self, migration: Migration) -> MigrationResult:
        """Resume an unfinished migration; if that is what is damaged, start over."""
        resumed = self.settings.next_cache.exists()
        try:
            return await self._run_in_thread(migration)
        except CacheDamaged:
            if not resumed:
                raise
            self._drop_new()
            return await self._run_in_thread(migration)

    def _state(self, found: FileFormat) -> UpgradeState:
        settings = self.settings
        log = attempt_log.read(settings.profile)
        same_file = bool(log.failed) and log.failed == attempt_log.identity_of(settings.cache)
        return UpgradeState(
            found.state, format_version(found.version) if found.version else "", format_version(target(self.upgrades)),
            free=self.free(settings) if settings.profile.is_dir() else 0, where=str(settings.profile),
            attempts=log.attempts, failure=log.failure if same_file else "",
            begun=found.state == "absent" and settings.next_cache.exists(), at_once=settings.on_failure == "rebuild",
        )  # fmt: skip

    def _is_rebuild_unfinished(self) -> bool:
        """Return whether the unfinished database is a rebuild's.

        A migration's states its source.
        """
        path = self.settings.next_cache
        if not path.exists() or detect_format(path, self.upgrades).state not in ("current", "old"):
            return False
        from kerio_resync.cache.new_database import source_of

        return source_of(path) is None

    def _drop_new(self) -> None:
        """Delete the unfinished database, so that its space is free again."""
        from kerio_resync.cache.swap import drop

        drop(self.settings.next_cache)

    async def _run_in_thread(self, migration: Migration) -> MigrationResult:
        """Run a migration in a thread, and emit its progress.

        It is stopped when this task is cancelled.
        """
        from kerio_resync.sync.rate_estimator import RateEstimator

        loop, stop = asyncio.get_running_loop(), threading.Event()
        latest: tuple[str, int, int, int, int] | None = None

        def report(phase: str, done: int, total: int, items: int, all_items: int) -> None:  # called by any thread
            nonlocal latest
            latest = phase, done, total, items, all_items

        work = asyncio.ensure_future(
            asyncio.to_thread(migration.migrate, self.settings.cache, self.settings.next_cache, report, stop)
        )
        started, phase = loop.time(), "upgrade"
        estimator = RateEstimator(started)
        try:
            while not work.done():
                await asyncio.wait([work], timeout=PROGRESS_INTERVAL_SECONDS)
                if latest is None:
                    continue
                if latest[0] != phase:
                    phase, estimator = latest[0], RateEstimator(loop.time())
                    self.listen(PhaseChanged("verify"))
                self.listen(_progress(*latest, loop.time() - started, loop.time(), estimator))
            return work.result()
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            work.exception()  # retrieved, so that asyncio does not log it
            raise


def _progress(
    phase: str, done: int, total: int, items: int, all_items: int, elapsed: float, now: float, estimator: RateEstimator
) -> Progress:
    estimator.add(now, done)
    seconds_left = estimator.seconds_left(total - done)
    if seconds_left is not None and phase == "upgrade":
        seconds_left += VERIFY_SHARE * (elapsed + seconds_left)
    return Progress(
        items_done=items, items_total=all_items, bytes_done=done, bytes_total=total, rate=estimator.rate,
        seconds_left=seconds_left, elapsed=elapsed,
    )  # fmt: skip
