"""The upgrade procedure: looks, decides, and does what was decided. `await upgrade(settings)` is its whole face.

The profile is locked while a database is upgraded, so that nobody else opens it. The old database stays whole until the
new one is proven and takes its place. What goes wrong on the way leads back into the decision: no room after all puts
the upgrade off, anything else leads to a rebuild, and what went wrong is remembered for this very file.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from kerio_resync.cache.files import processes_holding, raise_unreadable, require_places
from kerio_resync.errors import CacheDamaged, CacheInUse, NotEnoughSpace
from kerio_resync.events import Listener, Notice, PhaseChanged, Progress, ignore_events
from kerio_resync.filesystem import available_bytes
from kerio_resync.upgrade import attempt_log, launcher
from kerio_resync.upgrade.decide import UNSENT_CHANGES, UpgradeDecision, UpgradeState, decide
from kerio_resync.upgrade.detect_format import FileFormat, detect_format
from kerio_resync.upgrade.formats import (
    UPGRADES,
    Migration,
    MigrationResult,
    SizeEstimate,
    Upgrade,
    format_version,
    path_from,
    target,
)

if TYPE_CHECKING:  # settings are imported by whoever makes some: a start that has nothing to do needs none
    from kerio_resync.settings import Settings

PROGRESS_INTERVAL_SECONDS: Final = 0.25  # seconds
VERIFY_SHARE: Final = 0.35  # of the time that carrying over takes, for proving it
Rebuild = Callable[["Settings", Listener], Awaitable[Any]]


async def upgrade(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    upgrades: Sequence[Upgrade] = UPGRADES,
    rebuild: Rebuild | None = None,
    free: Callable[[Settings], int] | None = None,
) -> UpgradeDecision:
    """Does what a start has to do about `settings.cache`; the returned Step says what that was, and whether the mail
    program may start (`ready`, `exit`).

    CacheInUse if somebody has the profile or the database; the errors of `rebuild` if one is taken at once. If that
    one leaves local changes unsettled, the program may start, and `exit` is UNFINISHED.
    Cancelled, it stops soon, keeps what is whole, and goes on from there the next time. `upgrades`, `rebuild`, `free`
    (bytes on the disk) stand in for the real ones in tests.
    """
    require_places(settings.profile)
    found = await _settle(settings, detect_format(settings.cache, upgrades), upgrades)
    if found.state == "current":
        _refuse_if_held(settings)
        return _settled(
            settings,
            UpgradeDecision(
                "nothing", UpgradeState("current", format_version(found.version), format_version(found.version))
            ),
        )
    step = await _Procedure(settings, listen, upgrades, free or _free).run(found)
    if step.action != "rebuild":
        return step
    for sentence in step.sentences(str):
        listen(Notice(sentence))
    report = await (rebuild or _rebuild)(settings, listen)
    if report.unfinished:
        listen(Notice(UNSENT_CHANGES))
    done = replace(step, done=True, summary={"rebuild": report.as_json()}, unfinished=report.unfinished)
    return _settled(settings, done)


def start(settings: Settings, command: Sequence[str], listen: Listener = ignore_events) -> int:
    """Upgrades, then lets `command` take over this process if the database is ready; else the exit code that says why
    not. BadSettings, before anything is done, if there is no such program; else as `upgrade`."""
    return launcher.launch_when_ready(settings.profile, command, lambda: asyncio.run(upgrade(settings, listen)))


async def _settle(settings: Settings, found: FileFormat, upgrades: Sequence[Upgrade]) -> FileFormat:
    """Has SQLite take up what a killed writer left beside the database, unless another program has it open; says why
    the database can't be read, if it can't. DiskTrouble."""
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


def _refuse_if_held(settings: Settings) -> None:
    """CacheInUse while another run, such as a rebuild, has the profile."""
    if not (settings.profile / "kerio-resync.holder").exists():
        return
    from kerio_resync.cache.lock import ProfileLock

    if by := ProfileLock(settings.profile).holder():
        raise CacheInUse(f"{settings.profile} is held by {by}")


def _settled(settings: Settings, step: UpgradeDecision) -> UpgradeDecision:
    if (settings.profile / "upgrade.json").exists():
        attempt_log.write(settings.profile, attempt_log.NONE)
    return step


def _free(settings: Settings) -> int:
    return available_bytes(settings.cache)


async def _rebuild(settings: Settings, listen: Listener) -> Any:
    from kerio_resync.sync.rebuild import rebuild

    return await rebuild(settings, listen)


class _Procedure:
    """One run of it, on a file that is not up to date."""

    def __init__(
        self, settings: Settings, listen: Listener, upgrades: Sequence[Upgrade], free: Callable[[Settings], int]
    ) -> None:
        self._settings, self._listen, self._upgrades, self._free = settings, listen, upgrades, free
        self._first = 0  # the version that was found at the start

    async def run(self, found: FileFormat) -> UpgradeDecision:
        """Takes every step but a rebuild, which is only decided: it locks the profile itself."""
        if found.state in ("absent", "newer", "unknown", "damaged", "unreadable"):
            _refuse_if_held(self._settings)
            return decide(self._facts(found))
        from kerio_resync.cache.lock import ProfileLock

        self._first = found.version
        with ProfileLock(self._settings.profile):
            step: UpgradeDecision | None = None
            while (found := detect_format(self._settings.cache, self._upgrades)).state == "old":
                step = await self._try_upgrade(found)
                if not step.done:
                    return step
            return step or _settled(self._settings, decide(self._facts(found)))  # another start was quicker

    async def _try_upgrade(self, found: FileFormat) -> UpgradeDecision:
        """One upgrade, or why not."""
        settings = self._settings
        work = path_from(found.version, self._upgrades)[0].work()
        facts = self._facts(found)
        if facts.failure:
            return decide(facts)
        if self._began_a_rebuild():
            return decide(replace(facts, begun=True))
        self._listen(PhaseChanged("upgrade"))
        survey = SizeEstimate(0, 0)
        try:
            survey = await asyncio.to_thread(work.survey, settings.cache, settings.next_cache)
            step = decide(replace(facts, needed=survey.needed))
            if step.action == "migrate":
                moved = await self._migrate(work, survey)
                attempt_log.write(settings.profile, attempt_log.NONE)
                return replace(step, done=True, summary={"upgraded": asdict(moved)}, facts=self._from_first(step.facts))
        except NotEnoughSpace as error:
            self._drop_next()
            needed = max(error.needed, survey.needed, facts.free + 1)
            step = decide(replace(facts, needed=needed, free=min(error.available, needed - 1)))
        except CacheDamaged as error:
            self._drop_next()
            noted = attempt_log.AttemptLog(facts.attempts, error.detail, attempt_log.identity_of(settings.cache))
            attempt_log.write(settings.profile, noted)
            return decide(replace(facts, failure=error.detail))
        attempt_log.write(settings.profile, replace(attempt_log.read(settings.profile), attempts=facts.attempts + 1))
        return step

    async def _migrate(self, work: Migration, survey: SizeEstimate) -> MigrationResult:
        """Goes on with what was begun; should that be the damaged one, begins anew."""
        begun = self._settings.next_cache.exists()
        try:
            return await self._run_in_thread(work.migrate, survey)
        except CacheDamaged:
            if not begun:
                raise
            self._drop_next()
            return await self._run_in_thread(work.migrate, survey)

    def _from_first(self, facts: UpgradeState) -> UpgradeState:
        return replace(facts, version=format_version(self._first))

    def _facts(self, found: FileFormat) -> UpgradeState:
        settings = self._settings
        noted = attempt_log.read(settings.profile)
        same = bool(noted.failed) and noted.failed == attempt_log.identity_of(settings.cache)
        return UpgradeState(
            found.state, format_version(found.version) if found.version else "", format_version(target(self._upgrades)),
            free=self._free(settings) if settings.profile.is_dir() else 0, where=str(settings.profile),
            attempts=noted.attempts, failure=noted.failure if same else "",
            begun=found.state == "absent" and settings.next_cache.exists(), at_once=settings.on_failure == "rebuild",
        )  # fmt: skip

    def _began_a_rebuild(self) -> bool:
        """Whether the half-built database is a rebuild's (a half-made upgrade says what it is made from)."""
        path = self._settings.next_cache
        if not path.exists() or detect_format(path, self._upgrades).state not in ("current", "old"):
            return False
        from kerio_resync.cache.format71.new_database import source_of

        return source_of(path) is None

    def _drop_next(self) -> None:
        """Gives back the room of what was begun."""
        from kerio_resync.cache.swap import drop

        drop(self._settings.next_cache)

    async def _run_in_thread(self, migrate: Callable[..., MigrationResult], survey: SizeEstimate) -> MigrationResult:
        """Runs it in a thread, tells of it, and stops it if we are cancelled."""
        settings, stop = self._settings, threading.Event()
        loop = asyncio.get_running_loop()
        teller = _MigrationProgress(self._listen, survey)

        def tell(phase: str, done: int, total: int, items: int, all_items: int) -> None:
            if teller.due(phase):
                loop.call_soon_threadsafe(teller.tell, phase, done, total, items, all_items)

        work = asyncio.ensure_future(asyncio.to_thread(migrate, settings.cache, settings.next_cache, tell, stop))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            work.exception()  # it is the interruption itself, or came with it
            raise


class _MigrationProgress:
    """Turns what a migration says, often and from its thread, into events a few times a second."""

    def __init__(self, listen: Listener, survey: SizeEstimate) -> None:
        self._listen, self._survey = listen, survey
        self._started = self._phase_started = time.monotonic()
        self._next = 0.0
        self._phase = "upgrade"

    def due(self, phase: str) -> bool:
        now = time.monotonic()
        if now < self._next and phase == self._phase:
            return False
        self._next = now + PROGRESS_INTERVAL_SECONDS
        return True

    def tell(self, phase: str, done: int, total: int, items: int, all_items: int) -> None:
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._phase_started = phase, now
            self._listen(PhaseChanged("verify"))
        spent = max(now - self._phase_started, 1e-6)
        rate = done / spent
        left = (total - done) / rate if rate else None
        if left is not None and phase == "upgrade":
            left += VERIFY_SHARE * (spent + left)
        self._listen(
            Progress(
                items_done=items, items_total=all_items, bytes_done=done, bytes_total=total, rate=rate,
                seconds_left=left,
                elapsed=now - self._started,
            )
        )  # fmt: skip
