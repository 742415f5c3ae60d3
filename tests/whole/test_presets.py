"""A rebuild under every preset of the mock ends with the server's own digest, over real sockets and the relay."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kerio_mockserver.conditions.presets import PRESETS
from kerio_mockserver.testing import running
from kerio_resync import Report, Settings, digest, rebuild
from kerio_resync.events import Event, Listener, Progress
from kerio_resync.server.kerio.mailbox import KerioMailbox

SLOW = {"mobile-3g", "hotel-wifi", "satellite", "server-dying"}


async def test_a_rebuild_ends_whole_under_every_preset(tmp_path: Path) -> None:
    """All at once: nearly all of the time is waiting."""
    ends = await asyncio.gather(*(ends_whole(name, tmp_path / name) for name in PRESETS), return_exceptions=True)
    failed = {name: end for name, end in zip(PRESETS, ends, strict=True) if end is not None}
    if failed:
        raise BaseExceptionGroup(f"under {', '.join(failed)}", [*failed.values()])


async def rebuilt(settings: Settings, listen: Listener) -> Report:
    """With dice that fall low: no more is waited before a repetition than must be."""
    return await rebuild(settings, listen, mailbox=KerioMailbox(settings, listen, chance=lambda: 0.3))


async def ends_whole(name: str, profile: Path) -> None:
    told: list[Event] = []
    mails = 12 if name in SLOW else 40
    mailbox = {"folders": 6, "contacts": 3, "events": 3, "tasks": 1, "notes": 1, "mean_bytes": 4000}
    async with running(mails=mails, mailbox=mailbox, conditions=PRESETS[name]) as server:
        settings = Settings.model_validate(
            {"profile": profile, "server": server.url, "user": server.user, "password": server.password}
        )
        report = await rebuilt(settings, told.append)
        churning = PRESETS[name].churn is not None
        if churning:  # what changed after the last sync key is the next run's
            server.core.stop()
            report = await rebuilt(settings, told.append)
        ours = [line async for line in digest(settings)]
        assert ours == [line.rstrip("\n") for line in server.store.digest()]
        assert report.skipped == ()
        assert server.core.stats.internal_errors == []
    for each in told:
        if isinstance(each, Progress):
            assert each.seconds_left is None or each.seconds_left >= 0
            assert each.items_done <= each.items_total
            assert each.attachments_done <= each.attachments_total
