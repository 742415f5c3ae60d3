"""A rebuild under every preset of the mock ends with the server's own digest, over real sockets and the relay."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerio_mockserver.conditions.presets import PRESETS
from kerio_mockserver.testing import running
from kerio_resync import Settings, digest, rebuild
from kerio_resync.events import Event, Progress

SLOW = {"mobile-3g", "hotel-wifi", "satellite", "server-dying"}


@pytest.mark.parametrize("name", PRESETS)
async def test_a_rebuild_ends_whole_under(name: str, tmp_path: Path) -> None:
    told: list[Event] = []
    mails = 12 if name in SLOW else 40
    mailbox = {"folders": 6, "contacts": 3, "events": 3, "tasks": 1, "notes": 1, "mean_bytes": 4000}
    async with running(mails=mails, mailbox=mailbox, conditions=PRESETS[name]) as server:
        settings = Settings.model_validate(
            {"profile": tmp_path, "server": server.url, "user": server.user, "password": server.password}
        )
        report = await rebuild(settings, told.append)
        churning = PRESETS[name].churn is not None
        if churning:  # what changed after the last sync key is the next run's
            server.core.stop()
            report = await rebuild(settings, told.append)
        ours = [line async for line in digest(settings)]
        assert ours == [line.rstrip("\n") for line in server.store.digest()]
        assert report.skipped == ()
        assert server.core.stats.mistakes == []
    for each in told:
        if isinstance(each, Progress):
            assert each.seconds_left is None or each.seconds_left >= 0
            assert each.items_done <= each.items_total
            assert each.attachments_done <= each.attachments_total
