"""How long it would take, here and now: a local upgrade, and a rebuild from the server; and what to tell the users.

Both are measured by doing them for a moment. The local upgrade is done for a sample of the old database, on the disk it
will be done on. The rebuild is begun into a folder of its own, with all the manners towards the server that it has, and
broken off after a few seconds; what it foretold then, and how much that swayed, is the estimate and its range. Nothing
of it stays. The vendor's own figure (1 GB in 5 minutes) stands beside.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from kerio_resync.errors import BadSettings, ResyncError, explain
from kerio_resync.events import Event, Listener, PhaseChanged, Progress, nobody
from kerio_resync.resync.rebuild import prepare, rebuild
from kerio_resync.server.kerio import KerioMailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.upgrade import migrate
from kerio_resync.upgrade.look import look

SAMPLE: Final = 96 * 1024 * 1024  # bytes of the old database that are carried over for a trial
PROBE: Final = 8.0  # seconds of a rebuild; with logging in and out it stays under 10
LONGEST: Final = 10.0
TAIL: Final = 1.06  # catching up, comparing, checking, at the end of a rebuild, over the fetching
VENDOR: Final = 1_000_000_000 / 300  # bytes a second, as the vendor says it
SPREAD: Final = 0.2  # a range is at least this wide, both ways
TRIPS: Final = 3


@dataclass(frozen=True, slots=True)
class Range:
    """Seconds: what is likely, and between what."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """`upgrade` and `rebuild` are None where they can't be said, for the reason in `upgrade_problem`,
    `rebuild_problem`. Bytes; seconds; `rate` bytes a second from this server, `round_trip` to it."""

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

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "notice": self.notice()}

    def lines(self, size: Callable[[float], str], span: Callable[[float], str]) -> list[str]:
        """For people; `size` turns bytes into words, `span` seconds."""
        measured = [*self._upgrade_lines(size, span), *self._rebuild_lines(size, span)]
        return [*measured, "", "A notice to send:", "", *self.notice().splitlines()]

    def _upgrade_lines(self, size: Callable[[float], str], span: Callable[[float], str]) -> list[str]:
        if self.upgrade is None:
            return [f"Local upgrade: {self.upgrade_problem}."]
        room = "enough room" if self.needed_bytes <= self.free_bytes else "NOT ENOUGH ROOM"
        return [
            f"Local upgrade of {size(self.old_bytes)}: about {_spoken(self.upgrade, span)}"
            f" (the vendor's figure: {span(self.vendor_seconds)}).",
            f"It needs {size(self.needed_bytes)} on the disk; {size(self.free_bytes)} are free: {room}.",
        ]

    def _rebuild_lines(self, size: Callable[[float], str], span: Callable[[float], str]) -> list[str]:
        if self.rebuild is None:
            return [f"Rebuild from the server: {self.rebuild_problem}."]
        return [
            f"Rebuild from the server ({self.mailbox_items:,} items, {size(self.mailbox_bytes)}):"
            f" about {_spoken(self.rebuild, span)}.",
            f"Measured: round trip {self.round_trip * 1000:.0f} ms, {size(self.rate)}/s.",
        ]

    def notice(self) -> str:
        """What users can be told; WHEN is for the sender to fill in."""
        longest = max((each.high for each in (self.upgrade, self.rebuild) if each is not None), default=None)
        if longest is None:
            return "The mail program's database is up to date; nothing has to be done."
        usual = self.upgrade or self.rebuild
        assert usual is not None
        lines = [
            "Dear colleagues,",
            "",
            "on WHEN, when you start your mail program, it will bring its database up to date. This takes about"
            f" {_rounded(usual.seconds)}; please let it finish, and do not switch the computer off.",
        ]
        if self.upgrade and self.rebuild:
            lines.append(
                f"Should the database have to be fetched from the server again, it takes up to {_rounded(longest)}."
            )
        lines.append(
            "Meanwhile you can read and write mail as usual in the webmail. Nothing is lost: no mail, no draft."
        )
        return "\n".join(lines)


async def estimate(settings: Settings, listen: Listener = nobody, *, mailbox: Mailbox | None = None) -> Estimate:
    """Measures both. BadSettings if the profile can't be used; what can't be measured is said in the Estimate.

    `mailbox`: instead of the Kerio server's; it is opened and closed twice."""
    if settings.server and settings.user:
        prepare(settings)
    elif not settings.profile.is_dir():
        raise BadSettings(f"there is no profile folder {settings.profile}")
    free = shutil.disk_usage(settings.profile).free
    found = await asyncio.to_thread(_local, settings, Estimate(free_bytes=free))
    try:
        async with asyncio.timeout(LONGEST + 2):
            return await _remote(settings, listen, mailbox, found)
    except TimeoutError:
        return replace(found, rebuild_problem="the server answers too slowly to say")
    except ResyncError as error:
        return replace(found, rebuild_problem=explain(error)[0].rstrip("."))


# The local upgrade


def _local(settings: Settings, found: Estimate) -> Estimate:
    seen = look(settings.cache)
    if seen.state != "old":
        said = {"current": "the database is up to date", "absent": "there is no database yet"}
        return replace(found, upgrade_problem=said.get(seen.state, f"it can't be done ({seen.state})"))
    try:
        survey = migrate.survey(settings.cache, settings.next_cache)
        with tempfile.TemporaryDirectory(dir=settings.profile, prefix="estimate-") as folder:
            carried, seconds = migrate.trial(settings.cache, Path(folder) / "cache.db.next", SAMPLE)
    except (ResyncError, OSError) as error:
        problem = explain(error)[0].rstrip(".") if isinstance(error, ResyncError) else str(error.strerror)
        return replace(found, upgrade_problem=problem, old_bytes=seen.bytes)
    likely = survey.live / carried * seconds if carried else seconds
    spread = SPREAD if carried >= survey.live else 2 * SPREAD  # a disk is quicker for a moment than for long
    return replace(
        found, upgrade=Range(likely, likely * (1 - spread / 2), likely * (1 + 2 * spread)), old_bytes=seen.bytes,
        vendor_seconds=seen.bytes / VENDOR, needed_bytes=survey.needed,
    )  # fmt: skip


# The rebuild


class _Ear:
    """Hears what a rebuild foretells."""

    def __init__(self) -> None:
        self.last: Progress | None = None
        self.totals: list[tuple[float, float]] = []  # when, and how long it was to take in all

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.last = event
            if event.seconds_left is not None and event.bytes_done:
                self.totals.append((event.elapsed, event.elapsed + event.seconds_left))

    def foretold(self) -> Range | None:
        """From the later half of what was said: the first seconds are spent on finding the pace."""
        if not self.totals:
            return None
        half = (self.totals[0][0] + self.totals[-1][0]) / 2
        late = sorted(total * TAIL for when, total in self.totals if when >= half)
        likely = statistics.median(late)
        return Range(likely, min(late[0], likely * (1 - SPREAD)), max(late[-1], likely * (1 + SPREAD)))


async def _remote(settings: Settings, listen: Listener, mailbox: Mailbox | None, found: Estimate) -> Estimate:
    if mailbox is None and not (settings.server and settings.user and settings.password.get_secret_value()):
        return replace(found, rebuild_problem="it can't be said without a server, a user and a password")
    listen(PhaseChanged("session"))
    mailbox = mailbox or KerioMailbox(settings)
    await mailbox.open()
    trips = []
    for _ in range(TRIPS):
        started = time.monotonic()
        quota = await mailbox.quota()
        trips.append(time.monotonic() - started)
    folders = await mailbox.folders()
    items = sum(each.count for each in folders) or quota.items
    size = sum(each.size for each in folders) or quota.bytes
    found = replace(found, mailbox_items=items, mailbox_bytes=size, round_trip=min(trips))
    listen(PhaseChanged("fetch"))
    with tempfile.TemporaryDirectory(dir=settings.profile, prefix="estimate-", ignore_cleanup_errors=True) as folder:
        return await _probe(settings, Path(folder), mailbox, found)


async def _probe(settings: Settings, folder: Path, mailbox: Mailbox, found: Estimate) -> Estimate:
    ear, started = _Ear(), time.monotonic()
    trial = settings.model_copy(update={"profile": folder, "fresh": True, "drop_first": False})
    task = asyncio.create_task(rebuild(trial, ear, mailbox=mailbox))
    done, _ = await asyncio.wait([task], timeout=PROBE)
    if not done:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    spent = time.monotonic() - started
    if done:
        report = task.result()
        return replace(
            found, rebuild=Range(spent, spent * (1 - SPREAD), spent * (1 + SPREAD)), rate=report.plain_bytes / spent
        )
    foretold = ear.foretold()
    if foretold is None or ear.last is None:
        return replace(found, rebuild_problem="the server answers too slowly to say")
    return replace(found, rebuild=foretold, rate=ear.last.rate)


def _spoken(each: Range, span: Callable[[float], str]) -> str:
    return f"{span(each.seconds)} ({span(each.low)} to {span(each.high)})"


def _rounded(seconds: float) -> str:
    """For a notice: no false precision."""
    minutes = seconds / 60
    if minutes <= 1:
        return "a minute"
    if minutes < 60:
        return f"{-(-minutes // (1 if minutes < 10 else 5)) * (1 if minutes < 10 else 5):.0f} minutes"
    hours = -(-minutes // 30) / 2
    return f"{hours:g} hours" if hours > 1 else "an hour"
