"""The estimate: what it takes from a rebuild that was begun, what it says if it cannot measure, and the notice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.format71_files import write
from kerio_resync.errors import BadSettings, Unreachable
from kerio_resync.events import Listener, Progress
from kerio_resync.settings import Settings
from kerio_resync.upgrade import estimation
from kerio_resync.upgrade.estimation import MAX_SECONDS, PROBE_SECONDS, TOO_SLOW, Estimate, Range, estimate
from simulation import virtual_time
from tests.support.format72 import LATE, load

Probe = Callable[[Listener], Awaitable[None]]


def estimated(profile: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> tuple[Estimate, float]:
    """Return the estimate with `probe` in place of the rebuild, and how long it took."""

    async def rebuild(settings: Settings, listen: Listener, **_: Any) -> None:
        assert settings.profile.parent == profile
        assert settings.fresh
        assert settings.folders == ()  # the scratch profile has no cache that a part could be replaced in
        await probe(listen)

    async def measure() -> tuple[Estimate, float]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        found = await estimate(settings)
        return found, loop.time() - started

    monkeypatch.setattr(estimation, "rebuild", rebuild)
    settings = Settings.model_validate(
        {
            "profile": profile,
            "server": "https://mail.example.com",
            "user": "jane",
            "password": "secret",
            "protocol": "kerio",
            "folders": ("Inbox",),
        }
    )
    found = virtual_time.run(measure())
    assert not list(profile.iterdir())
    return found


def progress(seconds_left: float | None) -> Progress:
    return Progress(items_total=70, bytes_total=9000, rate=300.0, seconds_left=seconds_left)


def test_estimate_is_the_last_one_of_the_rebuild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe(listen: Listener) -> None:
        for second, total in enumerate([None, 500, 90, 60, 70, 40, 50, 55]):
            listen(progress(total and total - second))
            await asyncio.sleep(1)
        await asyncio.sleep(100)

    found, seconds = estimated(tmp_path, probe, monkeypatch)
    assert found.rebuild is not None
    assert found.rebuild.seconds == pytest.approx(55)
    assert found.rebuild.low == pytest.approx(40 * 0.8)  # the least and the most of the second half
    assert found.rebuild.high == pytest.approx(70 * 1.2)
    assert (found.mailbox_items, found.mailbox_bytes, found.rate) == (70, 9000, 300.0)
    assert PROBE_SECONDS <= seconds <= MAX_SECONDS


def test_estimate_of_rebuild_that_ended_is_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe(listen: Listener) -> None:
        listen(progress(None))
        await asyncio.sleep(3)

    found, _ = estimated(tmp_path, probe, monkeypatch)
    assert found.rebuild is not None
    times = found.rebuild.seconds, found.rebuild.low, found.rebuild.high
    assert times == pytest.approx((3, 2.4, 3.6))


@pytest.mark.parametrize("seconds_left", [[], [None, None]])
@pytest.mark.parametrize("cleanup", [0.0, 30.0])
def test_rebuild_without_estimate_is_too_slow(
    seconds_left: list[None], cleanup: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def probe(listen: Listener) -> None:
        for each in seconds_left:
            listen(progress(each))
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(cleanup)

    found, seconds = estimated(tmp_path, probe, monkeypatch)
    assert (found.rebuild, found.rebuild_problem) == (None, TOO_SLOW)
    assert seconds <= MAX_SECONDS


def test_error_of_rebuild_is_its_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def probe(listen: Listener) -> None:
        raise Unreachable("connection refused")

    found, _ = estimated(tmp_path, probe, monkeypatch)
    assert found.rebuild is None
    assert found.rebuild_problem
    assert not found.rebuild_problem.endswith(".")


@pytest.mark.parametrize(("content", "problem"), [(None, "there is no database yet"), (b"x", "(damaged)")])
async def test_database_that_cannot_be_upgraded_is_the_problem(
    content: bytes | None, problem: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "cache.db").write_bytes(content)
    found = await estimate(Settings(profile=tmp_path))
    assert found.upgrade is None
    assert problem in found.upgrade_problem
    assert found.notice() == ""


async def test_damaged_old_database_is_the_problem(tmp_path: Path) -> None:
    write(tmp_path / "cache.db", 5, 1000)
    data = bytearray((tmp_path / "cache.db").read_bytes())
    data[100:3000] = bytes(2900)
    (tmp_path / "cache.db").write_bytes(data)
    found = await estimate(Settings(profile=tmp_path))
    assert found.upgrade is None
    assert found.old_bytes == len(data)
    assert found.upgrade_problem


async def test_upgrade_of_format_72_is_measured(tmp_path: Path) -> None:
    path = load(LATE, tmp_path / "cache.db")
    before = path.read_bytes()
    found = await estimate(Settings(profile=tmp_path))
    assert found.upgrade is not None
    assert found.upgrade.seconds > 0
    assert found.needed_bytes > found.old_bytes == len(before)
    assert [each.name for each in tmp_path.iterdir()] == ["cache.db"]
    assert path.read_bytes() == before


async def test_estimate_refuses_missing_profile(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="no profile folder"):
        await estimate(Settings(profile=tmp_path / "missing"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "a minute"), (61, "2 minutes"), (540, "9 minutes"), (601, "15 minutes"), (3500, "60 minutes"),
     (3601, "1.5 hours"), (3600, "an hour"), (7300, "2.5 hours")],
)  # fmt: skip
def test_notice_rounds_up(seconds: float, words: str) -> None:
    notice = Estimate(upgrade=Range(seconds, seconds, seconds)).notice()
    assert f"takes about {words};" in notice
    assert "downloaded" not in notice


def test_lines_name_missing_space() -> None:
    found = Estimate(upgrade=Range(60, 50, 70), needed_bytes=10, free_bytes=9, rebuild=Range(90, 80, 7000))
    lines = "\n".join(found.lines(lambda size: f"{size} B", lambda seconds: f"{seconds} s"))
    assert "NOT ENOUGH SPACE" in lines
    assert "about 60 s (50 s to 70 s)" in lines
    assert "it takes up to 2 hours" in lines
