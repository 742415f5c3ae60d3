"""The way to a server, and what the checks of the network share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import urljoin, urlsplit

from kerio_resync.errors import ForeignReply, ResyncError
from kerio_resync.server.http.transport import AiohttpTransport, Request, Route, refuse_redirect

T = TypeVar("T")
STEP_SECONDS: Final = 3.0  # for a name, a connection, a handshake and a reply each
MAX_REDIRECTS: Final = 4
MAX_REPLY_BYTES: Final = 1 << 20
CLOCK_SECONDS: Final = 60.0  # a larger difference is named
Address = tuple[int, tuple[Any, ...]]  # family, and what `connect` takes


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of any service."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_redirect(self) -> bool:
        """Return whether it names another address."""
        return self.status in (301, 302, 303, 307, 308)


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

    async def follow(self, request: Request, until: Callable[[Reply], bool] = lambda _: False) -> Reply:
        """Send a request without secrets; follow redirects within the server.

        A redirect that `until` accepts is returned. ForeignReply for a redirect to another server, and other errors of
        the transport.
        """
        url = request.url
        for _ in range(MAX_REDIRECTS):
            async with self.transport.send(request._replace(url=url, redirects=True)) as response:
                reply = Reply(response.status, response.headers, await response.read(MAX_REPLY_BYTES))
            if not reply.is_redirect or until(reply):
                return reply
            location = reply.headers.get("location", "")
            try:
                target = urljoin(url, location)
                is_inside = urlsplit(target)[:2] == urlsplit(self.server)[:2]
            except ValueError:
                is_inside = False
            if not is_inside:
                refuse_redirect(url, reply.status, location)
            url = target
        raise ForeignReply("a chain of redirects")


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
