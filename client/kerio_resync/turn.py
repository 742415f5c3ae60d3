"""Waits for the turn of an unattended run, and ends it when its window closes.

The wait holds no lock and no connection. It reads the computer's clock every few seconds, because a timer does not
count the time of a suspended computer and does not follow a clock that is set. A run that its window ends is cancelled,
as by Ctrl-C: what is complete is kept, and the next run resumes.
"""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from kerio_resync.errors import BadSettings, Postponed
from kerio_resync.events import Event, Listener, PhaseChanged, Waiting
from kerio_resync.settings import Settings
from kerio_resync.start_window import StartWindow, Turn

CHECK_SECONDS: Final = 10.0  # between two looks at the clock
_LAST_PHASES: Final = ("swap", "replay")  # short, and of use only when they end
Clock = Callable[[], datetime]


def local_now() -> datetime:
    """Return the time of this computer, with its zone."""
    return datetime.now().astimezone()


def has_window(settings: Settings) -> bool:
    """Return whether the settings say anything about when a run may begin or end."""
    return bool(settings.splay or settings.not_before or settings.not_after)


def own_delay(splay: float, profile: Path) -> float:
    """Return this profile's part of the splay, in seconds.

    It depends on the computer's name, its user and the path of the profile alone, so it stays the same. Over many
    computers the parts are spread evenly.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user has no name: KeyError until Python 3.13
        user = str(os.getuid()) if hasattr(os, "getuid") else ""
    name = "\0".join((socket.gethostname(), user, os.path.normcase(profile.absolute())))
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
    return splay * (int.from_bytes(digest) / 2**64)


def window_of(settings: Settings) -> StartWindow:
    """Return the window that the settings describe.

    BadSettings if nothing can begin in it.
    """
    window = StartWindow(settings.not_before, settings.not_after, own_delay(settings.splay, settings.profile))
    length = window.seconds()
    if length is not None and length <= 0:
        raise BadSettings(
            f"the window is empty: not_after ({settings.not_after}) must be later than not_before"
            f" ({settings.not_before})"
        )
    if length is not None and settings.splay >= length:
        raise BadSettings(
            f"a splay of {timedelta(seconds=settings.splay)} does not fit the window from {settings.not_before} to"
            f" {settings.not_after} ({timedelta(seconds=length)}): choose a shorter one"
        )
    return window


def next_turn(settings: Settings, window: StartWindow, now: datetime, started: datetime) -> Turn:
    """Return the turn of a command that was started at `started`.

    Postponed if the window is closed, or closes before the turn.
    """
    turn = window.turn(now, started)
    if turn.closes is None or max(now, turn.begins) < turn.closes:
        return turn
    closing = f"{clock_text(turn.closes)} (not_after = {settings.not_after})"
    if now >= turn.closes:
        raise Postponed(f"it is too late to begin: the window closed at {closing}. The next start tries again")
    raise Postponed(
        f"its turn would be at {clock_text(turn.begins)}, after the window closes at {closing}. The next start tries"
        " again; start it earlier, or use a shorter splay"
    )


def clock_text(moment: datetime) -> str:
    """Return a moment as people read it, in this computer's time."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def reason_of(settings: Settings, window: StartWindow) -> str:
    """Return why a run waits, as part of a sentence."""
    bound = [f"not before {settings.not_before}"] if settings.not_before else []
    delay = [f"{timedelta(seconds=round(window.delay))} of the splay"] if settings.splay else []
    return " and ".join([*bound, *delay])


@asynccontextmanager
async def own_turn(settings: Settings, listen: Listener, *, now: Clock = local_now) -> AsyncIterator[Listener]:
    """Wait for the turn; then end the body with Postponed when the window closes.

    Yields the listener for the body: once it hears that the cache is put in place, the body is not ended any more.
    BadSettings for an impossible window.
    """
    if not has_window(settings):
        yield listen
        return
    window = window_of(settings)
    turn = await _wait(settings, window, listen, now)
    if turn.closes is None:
        yield listen
        return
    closes = turn.closes
    try:
        async with asyncio.timeout(None) as limit:
            watch = asyncio.create_task(_expire(limit, closes, now))

            def hear(event: Event) -> None:
                if isinstance(event, PhaseChanged) and event.phase in _LAST_PHASES:
                    watch.cancel()
                listen(event)

            try:
                yield hear
            finally:
                watch.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        raise Postponed(
            f"the window closed at {clock_text(closes)} (not_after = {settings.not_after}), and the work was stopped."
            " What is complete is kept; the next start resumes"
        ) from None


async def _wait(settings: Settings, window: StartWindow, listen: Listener, now: Clock) -> Turn:
    started, announced = now(), None
    while True:
        moment = now()
        turn = next_turn(settings, window, moment, started)
        seconds = (turn.begins - moment).total_seconds()
        if seconds <= 0:
            return turn
        if announced != turn.begins:  # again if the clock was set to another day, or a night was slept through
            announced = turn.begins
            listen(Waiting(turn.begins.isoformat(timespec="seconds"), round(seconds, 1), reason_of(settings, window)))
        await asyncio.sleep(min(seconds, CHECK_SECONDS))


async def _expire(limit: asyncio.Timeout, closes: datetime, now: Clock) -> None:
    while (seconds := (closes - now()).total_seconds()) > 0:  # noqa: ASYNC110 - a clock has no event
        await asyncio.sleep(min(seconds, CHECK_SECONDS))
    limit.reschedule(asyncio.get_running_loop().time())
