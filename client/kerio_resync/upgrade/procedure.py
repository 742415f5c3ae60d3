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

from kerio_resync.cache.files import holders, raise_unreadable, require_places
from kerio_resync.errors import CacheDamaged, CacheInUse, NotEnoughSpace
from kerio_resync.events import Listener, Notice, PhaseChanged, Progress, nobody
from kerio_resync.filesystem import available
from kerio_resync.upgrade import gate, notes
from kerio_resync.upgrade.decide import UNSETTLED, Facts, Step, decide
from kerio_resync.upgrade.look import Found, look
from kerio_resync.upgrade.versions import UPGRADES, Migration, Moved, Survey, Upgrade, path_from, spoken, target

if TYPE_CHECKING:  # settings are imported by whoever makes some: a start that has nothing to do needs none
    from kerio_resync.settings import Settings

TELL_EVERY: Final = 0.25  # seconds
VERIFYING: Final = 0.35  # of the time that carrying over takes, for proving it
Rebuild = Callable[["Settings", Listener], Awaitable[Any]]


async def upgrade(
    settings: Settings,
    listen: Listener = nobody,
    *,
    upgrades: Sequence[Upgrade] = UPGRADES,
    rebuild: Rebuild | None = None,
    free: Callable[[Settings], int] | None = None,
) -> Step:
    """Does what a start has to do about `settings.cache`; the returned Step says what that was, and whether the mail
    program may start (`ready`, `exit`).

    CacheInUse if somebody has the profile or the database; the errors of `rebuild` if one is taken at once. If that
    one leaves local changes unsettled, the program may start, and `exit` is UNFINISHED.
    Cancelled, it stops soon, keeps what is whole, and goes on from there the next time. `upgrades`, `rebuild`, `free`
    (bytes on the disk) stand in for the real ones in tests.
    """
    require_places(settings.profile)
    found = await _settle(settings, look(settings.cache, upgrades), upgrades)
    if found.state == "current":
        _refuse_if_held(settings)
        return _settled(settings, Step("nothing", Facts("current", spoken(found.version), spoken(found.version))))
    step = await _Procedure(settings, listen, upgrades, free or _free).run(found)
    if step.action != "rebuild":
        return step
    for sentence in step.sentences(str):
        listen(Notice(sentence))
    report = await (rebuild or _rebuild)(settings, listen)
    if report.unfinished:
        listen(Notice(UNSETTLED))
    done = replace(step, done=True, summary={"rebuild": report.as_json()}, unfinished=report.unfinished)
    return _settled(settings, done)


def start(settings: Settings, command: Sequence[str], listen: Listener = nobody) -> int:
    """Upgrades, then lets `command` take over this process if the database is ready; else the exit code that says why
    not. BadSettings, before anything is done, if there is no such program; else as `upgrade`."""
    return gate.start(settings.profile, command, lambda: asyncio.run(upgrade(settings, listen)))


async def _settle(settings: Settings, found: Found, upgrades: Sequence[Upgrade]) -> Found:
    """Has SQLite take up what a killed writer left beside the database, unless another program has it open; says why
    the database can't be read, if it can't. DiskTrouble."""
    if found.state == "unreadable":
        raise_unreadable(settings.cache)
    if found.state != "mid-change":
        return found
    from kerio_resync.cache.lock import ProfileLock
    from kerio_resync.cache.swap import seal

    with suppress(CacheInUse, CacheDamaged), ProfileLock(settings.profile):
        if not holders(settings.cache):
            await seal(settings.cache)
    return look(settings.cache, upgrades, settled=True)


def _refuse_if_held(settings: Settings) -> None:
    """CacheInUse while another run, such as a rebuild, has the profile."""
    if not (settings.profile / "kerio-resync.holder").exists():
        return
    from kerio_resync.cache.lock import ProfileLock

    if by := ProfileLock(settings.profile).holder():
        raise CacheInUse(f"{settings.profile} is held by {by}")


def _settled(settings: Settings, step: Step) -> Step:
    if (settings.profile / "upgrade.json").exists():
        notes.write(settings.profile, notes.NONE)
    return step


def _free(settings: Settings) -> int:
    return available(settings.cache)


async def _rebuild(settings: Settings, listen: Listener) -> Any:
    from kerio_resync.resync.rebuild import rebuild

    return await rebuild(settings, listen)


class _Procedure:
    """One run of it, on a file that is not up to date."""

    def __init__(
        self, settings: Settings, listen: Listener, upgrades: Sequence[Upgrade], free: Callable[[Settings], int]
    ) -> None:
        self._settings, self._listen, self._upgrades, self._free = settings, listen, upgrades, free
        self._first = 0  # the version that was found at the start

    async def run(self, found: Found) -> Step:
        """Takes every step but a rebuild, which is only decided: it locks the profile itself."""
        if found.state in ("absent", "newer", "unknown", "damaged", "unreadable"):
            _refuse_if_held(self._settings)
            return decide(self._facts(found))
        from kerio_resync.cache.lock import ProfileLock

        self._first = found.version
        with ProfileLock(self._settings.profile):
            step: Step | None = None
            while (found := look(self._settings.cache, self._upgrades)).state == "old":
                step = await self._once(found)
                if not step.done:
                    return step
            return step or _settled(self._settings, decide(self._facts(found)))  # another start was quicker

    async def _once(self, found: Found) -> Step:
        """One upgrade, or why not."""
        settings = self._settings
        work = path_from(found.version, self._upgrades)[0].work()
        facts = self._facts(found)
        if facts.failure:
            return decide(facts)
        if self._began_a_rebuild():
            return decide(replace(facts, begun=True))
        self._listen(PhaseChanged("upgrade"))
        survey = Survey(0, 0)
        try:
            survey = await asyncio.to_thread(work.survey, settings.cache, settings.next_cache)
            step = decide(replace(facts, needed=survey.needed))
            if step.action == "migrate":
                moved = await self._migrate(work, survey)
                notes.write(settings.profile, notes.NONE)
                return replace(step, done=True, summary={"upgraded": asdict(moved)}, facts=self._from_first(step.facts))
        except NotEnoughSpace as error:
            self._drop_next()
            needed = max(error.needed, survey.needed, facts.free + 1)
            step = decide(replace(facts, needed=needed, free=min(error.available, needed - 1)))
        except CacheDamaged as error:
            self._drop_next()
            noted = notes.Notes(facts.attempts, error.detail, notes.identity_of(settings.cache))
            notes.write(settings.profile, noted)
            return decide(replace(facts, failure=error.detail))
        notes.write(settings.profile, replace(notes.read(settings.profile), attempts=facts.attempts + 1))
        return step

    async def _migrate(self, work: Migration, survey: Survey) -> Moved:
        """Goes on with what was begun; should that be the damaged one, begins anew."""
        begun = self._settings.next_cache.exists()
        try:
            return await self._watched(work.migrate, survey)
        except CacheDamaged:
            if not begun:
                raise
            self._drop_next()
            return await self._watched(work.migrate, survey)

    def _from_first(self, facts: Facts) -> Facts:
        return replace(facts, version=spoken(self._first))

    def _facts(self, found: Found) -> Facts:
        settings = self._settings
        noted = notes.read(settings.profile)
        same = bool(noted.failed) and noted.failed == notes.identity_of(settings.cache)
        return Facts(
            found.state, spoken(found.version) if found.version else "", spoken(target(self._upgrades)),
            free=self._free(settings) if settings.profile.is_dir() else 0, where=str(settings.profile),
            attempts=noted.attempts, failure=noted.failure if same else "",
            begun=found.state == "absent" and settings.next_cache.exists(), at_once=settings.on_failure == "rebuild",
        )  # fmt: skip

    def _began_a_rebuild(self) -> bool:
        """Whether the half-built database is a rebuild's (a half-made upgrade says what it is made from)."""
        path = self._settings.next_cache
        if not path.exists() or look(path, self._upgrades).state not in ("current", "old"):
            return False
        from kerio_resync.cache.legacy.target import source_of

        return source_of(path) is None

    def _drop_next(self) -> None:
        """Gives back the room of what was begun."""
        from kerio_resync.cache.swap import drop

        drop(self._settings.next_cache)

    async def _watched(self, migrate: Callable[..., Moved], survey: Survey) -> Moved:
        """Runs it in a thread, tells of it, and stops it if we are cancelled."""
        settings, stop = self._settings, threading.Event()
        loop = asyncio.get_running_loop()
        teller = _Teller(self._listen, survey)

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


class _Teller:
    """Turns what a migration says, often and from its thread, into events a few times a second."""

    def __init__(self, listen: Listener, survey: Survey) -> None:
        self._listen, self._survey = listen, survey
        self._started = self._phase_started = time.monotonic()
        self._next = 0.0
        self._phase = "upgrade"

    def due(self, phase: str) -> bool:
        now = time.monotonic()
        if now < self._next and phase == self._phase:
            return False
        self._next = now + TELL_EVERY
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
            left += VERIFYING * (spent + left)
        self._listen(
            Progress(
                items_done=items, items_total=all_items, bytes_done=done, bytes_total=total, rate=rate,
                seconds_left=left,
                elapsed=now - self._started,
            )
        )  # fmt: skip
