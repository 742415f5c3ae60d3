"""Estimates how long a local upgrade and a rebuild from the server would take.

It also writes a notice for the users.

Both are run briefly. The upgrade migrates a sample of the old database on the disk on which it will be done. The
rebuild is begun in a scratch profile, ended after PROBE_SECONDS, and asked for its own estimate of the time left.
Nothing of either stays.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from kerio_resync.cache.files import require_places
from kerio_resync.errors import BadSettings, ResyncError, explain
from kerio_resync.events import Event, Listener, PhaseChanged, Progress, ignore_events
from kerio_resync.filesystem import available_bytes, translate_os_error
from kerio_resync.server.connect import open_mailbox
from kerio_resync.server.http.transport import Transport
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.rebuild import rebuild
from kerio_resync.sync.setup import check_profile
from kerio_resync.upgrade.formats import UPGRADES, detect_format, path_from

SAMPLE_BYTES: Final = 96 * 1024 * 1024  # of the old database
PROBE_SECONDS: Final = 9.0
MAX_SECONDS: Final = 10.0  # for the probe and its end
RANGE_SHARE: Final = 0.5  # the last part of the probe; its estimates make the range
SPREAD: Final = 0.2  # by which a range is wider, on both sides, than what was measured
VENDOR_BYTES_PER_SECOND: Final = 1_000_000_000 / 300
UP_TO_DATE: Final = "the database is up to date"
TOO_SLOW: Final = "the server answers too slowly for an estimate"


@dataclass(frozen=True, slots=True)
class Range:
    """A time in seconds: the likely one, and its bounds."""

    seconds: float
    low: float
    high: float

    @classmethod
    def around(cls, seconds: float, low: float, high: float) -> Self:
        """Return a range that is SPREAD wider than `low` to `high`."""
        return cls(seconds, low * (1 - SPREAD), high * (1 + SPREAD))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The times of both ways, in seconds, and what they were computed from, in bytes.

    `upgrade` and `rebuild` are None if there is no estimate; `upgrade_problem` and `rebuild_problem` say why. `rate`:
    bytes per second from this server; `round_trip`: seconds of its fastest reply.
    """

    upgrade: Range | None = None
    upgrade_problem: str = ""
    vendor_seconds: float = 0.0
    old_bytes: int = 0
    needed_bytes: int = 0
    free_bytes: int = 0
    rebuild: Range | None = None
    rebuild_problem: str = ""
    mailbox_items: int = 0
    mailbox_bytes: int = 0
    round_trip: float = 0.0
    rate: float = 0.0

    @property
    def is_current(self) -> bool:
        """Return whether there is nothing to upgrade."""
        return self.upgrade_problem == UP_TO_DATE

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the JSON summary."""
        return {**asdict(self), "notice": self.notice()}

    def lines(self, size: Callable[[float], str], span: Callable[[float], str]) -> list[str]:
        """Return lines for the terminal.

        `size` formats a number of bytes, `span` one of seconds.
        """
        measured = [*self._upgrade_lines(size, span), *self._rebuild_lines(size, span)]
        notice = self.notice().splitlines()
        return [*measured, *(["", "A notice to send:", "", *notice] if notice else [])]

    def _upgrade_lines(self, size: Callable[[float], str], span: Callable[[float], str]) -> list[str]:
        if self.upgrade is None:
            return [f"Local upgrade: {self.upgrade_problem}."]
        room = "enough space" if self.needed_bytes <= self.free_bytes else "NOT ENOUGH SPACE"
        return [
            f"Local upgrade of {size(self.old_bytes)}: about {_format_range(self.upgrade, span)}"
            f" (the vendor's figure: {span(self.vendor_seconds)}).",
            f"It needs {size(self.needed_bytes)} on the disk; {size(self.free_bytes)} are free: {room}.",
        ]

    def _rebuild_lines(self, size: Callable[[float], str], span: Callable[[float], str]) -> list[str]:
        if self.rebuild is None:
            return [f"Rebuild from the server: {self.rebuild_problem}."]
        return [
            f"Rebuild from the server ({self.mailbox_items:,} items, {size(self.mailbox_bytes)}):"
            f" about {_format_range(self.rebuild, span)}.",
            f"Measured: round trip {self.round_trip * 1000:.0f} ms, {size(self.rate)}/s.",
        ]

    def notice(self) -> str:
        """Return a notice for the users, in which the sender replaces WHEN.

        "" if nothing was measured, or the database is up to date: then the users notice nothing.
        """
        usual = self.upgrade or self.rebuild
        if usual is None or self.is_current:
            return ""
        lines = [
            "Dear colleagues,",
            "",
            "on WHEN, when you start your mail program, it will bring its database up to date. This takes about"
            f" {_round_up(usual.seconds)}; please let it finish, and do not switch the computer off.",
        ]
        if self.upgrade and self.rebuild:
            longest = _round_up(max(self.upgrade.high, self.rebuild.high))
            lines.append(f"Should the database have to be downloaded from the server again, it takes up to {longest}.")
        lines.append(
            "Meanwhile you can read and write mail as usual in the webmail. Nothing is lost: no mail, no draft."
        )
        return "\n".join(lines)


async def estimate(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    transport: Transport | None = None,
    chance: Callable[[], float] = random.random,
) -> Estimate:
    """Measure both ways.

    BadSettings if the profile cannot be used; the Estimate says what could not be measured.

    Tests replace `transport` and `chance` (random numbers from 0 to 1).
    """
    if settings.server and settings.user:
        check_profile(settings)
    elif not settings.profile.is_dir():
        raise BadSettings(f"there is no profile folder {settings.profile}")
    require_places(settings.profile)
    free = available_bytes(settings.cache)
    local = await asyncio.to_thread(_estimate_upgrade, settings, Estimate(free_bytes=free))
    if not (settings.server and settings.user and settings.has_credentials):
        return replace(local, rebuild_problem="it needs a server, a user and a password")
    listen(PhaseChanged("fetch"))
    try:
        async with asyncio.timeout(MAX_SECONDS):  # two requests at most, if the protocol has to be found out
            mailbox = await open_mailbox(settings, transport=transport, chance=chance)
        async with asyncio.timeout(MAX_SECONDS):
            return await _estimate_rebuild(settings, mailbox, local)
    except TimeoutError:
        return replace(local, rebuild_problem=TOO_SLOW)
    except ResyncError as error:
        return replace(local, rebuild_problem=explain(error)[0].rstrip("."))


def _estimate_upgrade(settings: Settings, found: Estimate) -> Estimate:
    file = detect_format(settings.cache)
    if file.state != "old":
        problems = {"current": UP_TO_DATE, "absent": "there is no database yet"}
        return replace(found, upgrade_problem=problems.get(file.state, f"it is not possible ({file.state})"))
    try:
        migration = path_from(file.version, UPGRADES)[0].load()
        survey = migration.survey(settings.cache, settings.next_cache)
        with tempfile.TemporaryDirectory(dir=settings.profile, prefix="estimate-") as folder:
            copied, seconds = migration.measure_sample(settings.cache, Path(folder) / "cache.db.next", SAMPLE_BYTES)
    except (ResyncError, OSError) as error:
        ours = error if isinstance(error, ResyncError) else translate_os_error(error, settings.cache)
        return replace(found, upgrade_problem=explain(ours)[0].rstrip("."), old_bytes=file.bytes)
    likely = survey.live / copied * seconds if copied else seconds
    slower = 1 if copied >= survey.live else 1 + SPREAD  # a disk is faster for a moment than for long
    return replace(
        found, upgrade=Range.around(likely, likely, likely * slower), old_bytes=file.bytes,
        vendor_seconds=file.bytes / VENDOR_BYTES_PER_SECOND, needed_bytes=survey.needed,
    )  # fmt: skip


async def _estimate_rebuild(settings: Settings, mailbox: Mailbox, found: Estimate) -> Estimate:
    """Begin a rebuild of all folders in a scratch profile; return its own estimate."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    last: Progress | None = None
    totals: list[tuple[float, float]] = []  # (seconds so far, estimated seconds in all)

    def listen(event: Event) -> None:
        nonlocal last
        if isinstance(event, Progress):
            last, elapsed = event, loop.time() - started
            if event.seconds_left is not None:
                totals.append((elapsed, elapsed + event.seconds_left))

    with tempfile.TemporaryDirectory(dir=settings.profile, prefix="estimate-", ignore_cleanup_errors=True) as folder:
        scratch = settings.model_copy(
            update={"profile": Path(folder), "fresh": True, "drop_first": False, "folders": ()}
        )
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await rebuild(scratch, listen, mailbox=mailbox, clock=loop.time)
            totals = [(loop.time() - started, loop.time() - started)]
        except TimeoutError:
            pass
    if last is None or not totals:
        return replace(found, rebuild_problem=TOO_SLOW)
    recent = [total for elapsed, total in totals if elapsed >= RANGE_SHARE * totals[-1][0]]
    return replace(
        found, rebuild=Range.around(recent[-1], min(recent), max(recent)), mailbox_items=last.items_total,
        mailbox_bytes=last.bytes_total, round_trip=mailbox.min_latency, rate=last.rate,
    )  # fmt: skip


def _format_range(time: Range, span: Callable[[float], str]) -> str:
    return f"{span(time.seconds)} ({span(time.low)} to {span(time.high)})"


def _round_up(seconds: float) -> str:
    """Return a time for the notice, without false precision."""
    minutes = seconds / 60
    if minutes <= 1:
        return "a minute"
    if minutes < 60:
        step = 1 if minutes < 10 else 5
        return f"{-(-minutes // step) * step:.0f} minutes"
    hours = -(-minutes // 30) / 2
    return f"{hours:g} hours" if hours > 1 else "an hour"
