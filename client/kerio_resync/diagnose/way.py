"""The way to a server, and what the checks of the network share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from kerio_resync.errors import ResyncError
from kerio_resync.server.http.transport import AiohttpTransport, Request, Route

T = TypeVar("T")
STEP_SECONDS: Final = 3.0  # for a name, a connection, a handshake and a reply each
CLOCK_SECONDS: Final = 60.0  # a larger difference is named
Address = tuple[int, tuple[Any, ...]]  # family, and what `connect` takes


@dataclass(slots=True)
class Way:
    """The way to a server: its route and address, and the transport that was opened.

    `timings`: seconds of each step.
    """

    server: str
    route: Route
    transport: AiohttpTransport
    timings: dict[str, float] = field(default_factory=dict)
    difference: float | None = None  # seconds by which the server's clock is ahead

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(self.server).hostname or ""

    @property
    def is_tls(self) -> bool:
        """Return whether the server is reached over TLS."""
        return self.server.startswith("https:")

    @property
    def port(self) -> int:
        """The server's port."""
        return urlsplit(self.server).port or (443 if self.is_tls else 80)

    @property
    def first_stop(self) -> tuple[str, int]:
        """Host and port to connect to: those of the proxy, if there is one."""
        proxy = self.route.proxy
        return (proxy.host, proxy.port) if proxy else (self.host, self.port)


async def in_thread(work: Callable[[], T], seconds: float) -> T:
    """Run blocking `work` in a thread of its own; TimeoutError.

    The thread is a daemon: neither a name server nor a disk that does not answer keeps the process alive.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as caught:
            error = caught
        with suppress(RuntimeError):  # the loop is closed: nothing waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await result


async def error_of_request(way: Way) -> ResyncError | None:
    """Return the error of a request without secrets, None if it is answered."""
    try:
        async with (
            asyncio.timeout(2 * STEP_SECONDS),
            way.transport.send(Request("GET", f"{way.server}/", timeout=STEP_SECONDS)),
        ):
            return None
    except ResyncError as error:
        return error
    except TimeoutError:
        return None


def clock_difference(date: str) -> float | None:
    """Return the seconds by which a `Date` header is ahead of this computer.

    None if it is not a date.
    """
    try:
        stated = parsedate_to_datetime(date)
    except (ValueError, TypeError, IndexError):
        return None
    stated = stated if stated.tzinfo else stated.replace(tzinfo=UTC)
    difference = (stated - datetime.now(UTC)).total_seconds()
    return 0.0 if -1.0 <= difference <= 0 else difference  # the header has whole seconds


def spoken_difference(difference: float) -> str:
    """Return the difference of a clock in words: "3 hours slow"."""
    seconds = abs(difference)
    units = (("days", 86400), ("hours", 3600), ("minutes", 60))
    unit, size = next(((unit, size) for unit, size in units if seconds >= 2 * size), ("seconds", 1))
    return f"{seconds / size:.0f} {unit} {'slow' if difference > 0 else 'fast'}"
