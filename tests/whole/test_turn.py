"""A window that closes during a rebuild, and the command that waits for its window."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kerio_mockserver.conditions.model import Conditions
from kerio_resync import Settings, digest, rebuild, status, turn
from kerio_resync.errors import Exit, Postponed
from kerio_resync.events import Event, Progress
from tests.support.programs import PASSWORD, finish, mock, start

CLOSES = datetime(2026, 12, 2, 6, tzinfo=UTC)


async def test_window_that_closes_during_a_rebuild_keeps_what_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "CHECK_SECONDS", 0.01)
    slow = Conditions().patched({"load": {"workers": 1, "call_s": 0.05, "spread": "fixed"}})
    now = CLOSES - timedelta(hours=1)

    def hear(event: Event) -> None:
        nonlocal now
        if isinstance(event, Progress) and event.items_done:
            now = CLOSES

    async with mock(seed=7, mails=300, conditions=slow) as (server, _):
        settings = Settings.model_validate(
            {"profile": tmp_path, "server": server.url, "user": server.user, "password": PASSWORD}
        )
        with pytest.raises(Postponed, match="the work was stopped"):
            async with turn.own_turn(
                settings.model_copy(update={"not_after": CLOSES.isoformat()}), hear, now=lambda: now
            ) as listen:
                await rebuild(settings, listen)
        state = await status(settings)
        assert (state.cache.state, state.building.state) == ("absent", "building")
        assert state.building.wanted > 0
        server.core.change(Conditions())
        report = await rebuild(settings)
        assert report.resumed
        assert [line.rstrip("\n") async for line in digest(settings)] == [
            line.rstrip("\n") for line in server.store.digest()
        ]


async def test_command_that_waits_leaves_the_profile_alone_and_can_be_interrupted(tmp_path: Path) -> None:
    process = await start(
        "--profile", tmp_path, "rebuild", "--server", "https://127.0.0.1:9", "--user", "jane", "--json",
        "--not-before", "2099-12-01T22:00",
    )  # fmt: skip
    assert process.stdout is not None
    waiting = json.loads(await asyncio.wait_for(process.stdout.readline(), 50))
    assert (waiting["event"], waiting["until"][:19]) == ("waiting", "2099-12-01T22:00:00")
    assert waiting["reason"] == "not before 2099-12-01T22:00"
    assert {path.name for path in tmp_path.iterdir()} <= {"kerio-resync.log"}  # no lock
    process.send_signal(signal.SIGTERM)
    done = await finish(process)
    assert done.code == Exit.INTERRUPTED
    assert done.events[-1]["exit_code"] == Exit.INTERRUPTED
