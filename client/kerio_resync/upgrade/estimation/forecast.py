"""How long it would take, here and now: a local upgrade, and a rebuild from the server; and what to tell the users.

Both are measured by doing them for a moment. The local upgrade is done for a sample of the old database, on the disk it
will be done on. The rebuild is begun into a folder of its own and broken off after a few seconds (`probe`). Nothing of
it stays. The vendor's own figure (1 GB in 5 minutes) stands beside.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from kerio_resync.cache.files import require_places
from kerio_resync.errors import BadSettings, ResyncError, explain
from kerio_resync.events import Listener, PhaseChanged, ignore_events
from kerio_resync.filesystem import available_bytes, translate_os_error
from kerio_resync.server.http.transport import Transport
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.setup import check_profile
from kerio_resync.upgrade.estimation.rebuild_probe import LONGEST, SPREAD, Counter, probe
from kerio_resync.upgrade.formats import detect_format
from kerio_resync.upgrade.migration import format71

SAMPLE: Final = 96 * 1024 * 1024  # bytes of the old database that are carried over for a trial
VENDOR: Final = 1_000_000_000 / 300  # bytes a second, as the vendor says it
SLOW: Final = "the server answers too slowly to say"


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
        notice = self.notice().splitlines()
        return [*measured, *(["", "A notice to send:", "", *notice] if notice else [])]

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
        """What users can be told; WHEN is for the sender to fill in. '' where nothing was measured."""
        usual = self.upgrade or self.rebuild
        if usual is None:
            return ""
        lines = [
            "Dear colleagues,",
            "",
            "on WHEN, when you start your mail program, it will bring its database up to date. This takes about"
            f" {_rounded(usual.seconds)}; please let it finish, and do not switch the computer off.",
        ]
        if self.upgrade and self.rebuild:
            longest = _rounded(max(self.upgrade.high, self.rebuild.high))
            lines.append(f"Should the database have to be fetched from the server again, it takes up to {longest}.")
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
    """Measures both. BadSettings if the profile can't be used; what can't be measured is said in the Estimate.

    `transport`, `chance`: instead of the real ones, for tests and measurements."""
    if settings.server and settings.user:
        check_profile(settings)
    elif not settings.profile.is_dir():
        raise BadSettings(f"there is no profile folder {settings.profile}")
    require_places(settings.profile)
    free = available_bytes(settings.cache)
    found = await asyncio.to_thread(_local, settings, Estimate(free_bytes=free))
    try:
        async with asyncio.timeout(LONGEST):
            return await _remote(settings, listen, found, transport, chance)
    except TimeoutError:
        return replace(found, rebuild_problem=SLOW)
    except ResyncError as error:
        return replace(found, rebuild_problem=explain(error)[0].rstrip("."))


# The local upgrade


def _local(settings: Settings, found: Estimate) -> Estimate:
    seen = detect_format(settings.cache)
    if seen.state != "old":
        said = {"current": "the database is up to date", "absent": "there is no database yet"}
        return replace(found, upgrade_problem=said.get(seen.state, f"it can't be done ({seen.state})"))
    try:
        survey = format71.survey(settings.cache, settings.next_cache)
        with tempfile.TemporaryDirectory(dir=settings.profile, prefix="estimate-") as folder:
            carried, seconds = format71.measure_sample(settings.cache, Path(folder) / "cache.db.next", SAMPLE)
    except (ResyncError, OSError) as error:
        own = error if isinstance(error, ResyncError) else translate_os_error(error, settings.cache)
        return replace(found, upgrade_problem=explain(own)[0].rstrip("."), old_bytes=seen.bytes)
    likely = survey.live / carried * seconds if carried else seconds
    spread = SPREAD if carried >= survey.live else 2 * SPREAD  # a disk is quicker for a moment than for long
    return replace(
        found, upgrade=Range(likely, likely * (1 - spread / 2), likely * (1 + 2 * spread)), old_bytes=seen.bytes,
        vendor_seconds=seen.bytes / VENDOR, needed_bytes=survey.needed,
    )  # fmt: skip


# The rebuild


async def _remote(
    settings: Settings, listen: Listener, found: Estimate, transport: Transport | None, chance: Callable[[], float]
) -> Estimate:
    if not (settings.server and settings.user and settings.password.get_secret_value()):
        return replace(found, rebuild_problem="it can't be said without a server, a user and a password")
    listen(PhaseChanged("fetch"))
    counter = Counter()
    mailbox = KerioMailbox(settings, transport=transport, wrap_transport=counter.around, chance=chance)
    with tempfile.TemporaryDirectory(dir=settings.profile, prefix="estimate-", ignore_cleanup_errors=True) as folder:
        trial = settings.model_copy(update={"profile": Path(folder), "fresh": True, "drop_first": False})
        probed = await probe(trial, mailbox, counter)
    if probed.last is not None:
        found = replace(
            found, mailbox_items=probed.last.items_total, mailbox_bytes=probed.last.bytes_total,
            round_trip=probed.round_trip, rate=probed.rate,
        )  # fmt: skip
    foretold = probed.foretold()
    if foretold is None:
        return replace(found, rebuild_problem=SLOW)
    return replace(found, rebuild=Range(*foretold))


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
