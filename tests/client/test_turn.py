"""The wait for the turn of a run and the end of its window, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kerio_resync import turn
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.errors import BadSettings, Exit, Postponed, explain
from kerio_resync.events import Event, PhaseChanged, Waiting
from kerio_resync.settings import Settings
from kerio_resync.turn import CHECK_SECONDS, own_delay, own_turn
from simulation import virtual_time

EVENING = datetime(2026, 12, 1, 21, tzinfo=UTC)
NIGHT: dict[str, Any] = {"not_before": "22:00Z", "not_after": "06:00Z"}


class World:
    """A clock that runs with virtual time, and can be set."""

    def __init__(self, start: datetime = EVENING) -> None:
        self.start, self.heard = start, list[Event]()

    def now(self) -> datetime:
        return self.start + timedelta(seconds=asyncio.get_running_loop().time())

    async def run(self, profile: Path, seconds: float = 60.0, **settings: Any) -> tuple[datetime, datetime]:
        """Run work of so many seconds in its turn; return when it began and ended."""
        async with own_turn(Settings(profile=profile, **settings), self.heard.append, now=self.now) as hear:
            begun = self.now()
            hear(PhaseChanged("session"))
            await asyncio.sleep(seconds)
        return begun, self.now()

    @property
    def waits(self) -> list[Waiting]:
        return [event for event in self.heard if isinstance(event, Waiting)]


@pytest.fixture(autouse=True)
def half_of_the_splay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "own_delay", lambda splay, profile: splay / 2)


def clock(hours: float) -> datetime:
    """Return a time so many hours after midnight of that day."""
    return EVENING.replace(hour=0) + timedelta(hours=hours)


def test_run_without_a_window_begins_at_once(tmp_path: Path) -> None:
    world = World()
    assert virtual_time.run(world.run(tmp_path)) == (EVENING, EVENING + timedelta(seconds=60))
    assert world.heard == [PhaseChanged("session")]


def test_run_waits_for_its_window_and_its_part_of_the_splay(tmp_path: Path) -> None:
    world = World()
    begun, _ = virtual_time.run(world.run(tmp_path, splay="2h", **NIGHT))
    assert begun == clock(23)
    [waiting] = world.waits
    assert datetime.fromisoformat(waiting.until) == begun
    assert waiting.seconds == 7200
    assert waiting.reason == "not before 22:00Z and 1:00:00 of the splay"


def test_wait_holds_no_lock(tmp_path: Path) -> None:
    world = World()

    async def both() -> datetime:
        waiting = asyncio.create_task(world.run(tmp_path, **NIGHT))
        await asyncio.sleep(1800)
        assert world.waits
        with ProfileLock(tmp_path):
            await asyncio.sleep(1)
        return (await waiting)[0]

    assert virtual_time.run(both()) == clock(22)


def test_wait_ends_at_once_when_it_is_cancelled(tmp_path: Path) -> None:
    world = World()

    async def cancelled() -> float:
        waiting = asyncio.create_task(world.run(tmp_path, **NIGHT))
        await asyncio.sleep(61)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return asyncio.get_running_loop().time()

    assert virtual_time.run(cancelled()) == 61


@pytest.mark.parametrize(("jump", "begins"), [(timedelta(hours=2), 23), (timedelta(hours=-3), 22)])
def test_wait_follows_a_clock_that_is_set_or_a_computer_that_slept(
    jump: timedelta, begins: float, tmp_path: Path
) -> None:
    world = World()

    async def disturbed() -> datetime:
        waiting = asyncio.create_task(world.run(tmp_path, **NIGHT))
        await asyncio.sleep(5)
        world.start += jump
        return (await waiting)[0]

    late = virtual_time.run(disturbed()) - clock(begins)
    assert timedelta(0) <= late <= timedelta(seconds=CHECK_SECONDS + 5)


def test_run_that_slept_through_the_night_waits_for_the_next_one(tmp_path: Path) -> None:
    world = World()

    async def asleep() -> datetime:
        waiting = asyncio.create_task(world.run(tmp_path, **NIGHT))
        await asyncio.sleep(5)
        world.start += timedelta(hours=10)
        return (await waiting)[0]

    assert virtual_time.run(asleep()) == clock(22 + 24)
    assert len(world.waits) == 2


def refusal(world: World, profile: Path, **more: Any) -> tuple[str, Exit]:
    with pytest.raises((Postponed, BadSettings)) as caught:
        virtual_time.run(world.run(profile, **more))
    return explain(caught.value)


def test_run_after_its_window_is_postponed_before_anything_is_done(tmp_path: Path) -> None:
    world = World(clock(7))
    sentence, code = refusal(world, tmp_path, not_after="06:00Z")
    assert code is Exit.POSTPONED
    assert sentence.startswith("It is too late to begin: the window closed at ")
    assert "(not_after = 06:00Z)" in sentence
    assert world.heard == []


def test_run_whose_turn_is_after_the_window_is_postponed_without_a_wait(tmp_path: Path) -> None:
    world = World(clock(5.5))
    sentence, code = refusal(world, tmp_path, not_after="06:00Z", splay="2h")
    assert code is Exit.POSTPONED
    assert "after the window closes at" in sentence
    assert world.heard == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({**NIGHT, "splay": "8h"}, "A splay of 8:00:00 does not fit the window from 22:00Z to 06:00Z (8:00:00)"),
        ({"not_before": "2026-12-02T06:00", "not_after": "2026-12-01T22:00"}, "The window is empty"),
    ],
)
def test_window_in_which_nothing_can_begin_is_refused(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    sentence, code = refusal(World(), tmp_path, **settings)
    assert code is Exit.USAGE
    assert sentence.startswith(says)


def test_run_is_stopped_when_its_window_closes(tmp_path: Path) -> None:
    world = World()
    sentence, code = refusal(world, tmp_path, seconds=10 * 3600, **NIGHT)
    assert code is Exit.POSTPONED
    assert "and the work was stopped. What is complete is kept; the next start resumes." in sentence


def test_window_closes_by_the_clock_of_the_computer(tmp_path: Path) -> None:
    world, ended = World(clock(22)), list[datetime]()

    async def asleep() -> None:
        work = asyncio.create_task(world.run(tmp_path, 100_000, **NIGHT))
        await asyncio.sleep(5)
        world.start += timedelta(hours=9)
        with pytest.raises(Postponed):
            await work
        ended.append(world.now())

    virtual_time.run(asleep())
    assert ended[0] - clock(31) <= timedelta(seconds=CHECK_SECONDS + 5)


def test_swap_that_has_begun_is_not_stopped(tmp_path: Path) -> None:
    world = World(clock(22))

    async def swapping() -> datetime:
        async with own_turn(Settings(profile=tmp_path, **NIGHT), world.heard.append, now=world.now) as hear:
            await asyncio.sleep(7.9 * 3600)
            hear(PhaseChanged("swap"))
            await asyncio.sleep(3600)
        return world.now()

    assert virtual_time.run(swapping()) == clock(22 + 8.9)


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("a socket")])
def test_error_of_the_work_is_passed_on(error: Exception, tmp_path: Path) -> None:
    async def failing(now: Callable[[], datetime]) -> None:
        async with own_turn(Settings(profile=tmp_path, **NIGHT), print, now=now):
            raise error

    with pytest.raises(type(error)) as caught:
        virtual_time.run(failing(World(clock(23)).now))
    assert caught.value is error


def test_cancelled_work_stays_cancelled(tmp_path: Path) -> None:
    async def cancelled() -> None:
        work = asyncio.create_task(World(clock(23)).run(tmp_path, 1000, **NIGHT))
        await asyncio.sleep(10)
        work.cancel()
        await work

    with pytest.raises(asyncio.CancelledError):
        virtual_time.run(cancelled())


def test_own_delay_is_stable_and_evenly_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = [Path(f"/home/user{number}/profile") for number in range(2000)]
    delays = [own_delay(100.0, profile) for profile in profiles]
    assert delays == [own_delay(100.0, profile) for profile in profiles]
    assert all(0 <= delay < 100 for delay in delays)
    tenths = [sum(int(delay // 10) == tenth for delay in delays) for tenth in range(10)]
    assert min(tenths) > 150  # of 200
    assert max(tenths) < 250
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert own_delay(100.0, profiles[0]) != delays[0]


def test_own_delay_needs_no_user_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert 0 <= own_delay(100.0, Path("/p")) < 100
