"""What the server's users feel while clients rebuild.

`Probe` sends small requests at a gentle rate, as a webmail user would: the newest mails of the Inbox. Each is due at a
fixed time, whether or not earlier ones were answered, and its wait counts from then. `MockUsers` asks a mock server for
the waits of its own webmail users.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kerio_resync.errors import BadSettings, Overloaded, ResyncError, Unreachable
from kerio_resync.model import Listing
from kerio_resync.server.connect import open_mailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit, Sample
from kerio_resync.settings import Settings

PER_SECOND = 4.0
TIMEOUT_SECONDS = 10.0  # of a request; one that takes longer has failed
_RETRY_SECONDS = 4.0  # of a request that fails; less than the timeout, which would hide its error
MIN_SAMPLES = 20  # for a 95th percentile
_ROWS = 50  # of the Inbox, as a webmail shows at once
_MAX_IN_FLIGHT = 64.0  # more than are due within the timeout
_CONTROL_SECONDS = 10.0


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value that a `share` of all does not exceed.

    None for fewer than MIN_SAMPLES.
    """
    if len(values) < MIN_SAMPLES:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class _FixedLimit(AdaptiveLimit):
    """A limit that does not adapt, so that requests wait in the server only."""

    def after(self, sample: Sample) -> AdaptiveLimit:
        """Return the same limit."""
        return self


class Probe:
    """Requests beside the clients, and their waits in seconds since the last `reset`.

    `unanswered`: requests that got no answer in time, or were refused for load. `error`: of the last request that
    failed otherwise, None if none did.
    """

    def __init__(self, mailbox: Mailbox, listing: Listing) -> None:
        self._mailbox, self._listing = mailbox, listing
        self._waits: list[float] = []
        self.unanswered = 0
        self.error: ResyncError | None = None

    def reset(self) -> None:
        """Forget the waits so far."""
        self._waits, self.unanswered, self.error = [], 0, None

    def p95(self) -> float | None:
        """Return the 95th percentile of the waits; None after too few requests."""
        return percentile(self._waits, 0.95)

    async def run(self) -> None:
        """Send requests until cancelled."""
        due = time.perf_counter()  # uvloop's own clock counts milliseconds
        async with asyncio.TaskGroup() as group:
            while True:
                due += 1 / PER_SECOND
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(self._ask(due, self._waits))

    async def _ask(self, due: float, waits: list[float]) -> None:
        """Send one request; its wait belongs to the period in which it was due."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self.ask_once()
        except (TimeoutError, Overloaded):
            self.unanswered += 1
        except ResyncError as error:
            self.error = error
        waits.append(time.perf_counter() - due)

    async def ask_once(self) -> None:
        """Ask for the newest mails of the Inbox."""
        async with aclosing(self._mailbox.list_items(self._listing)) as pages:
            with suppress(StopAsyncIteration):
                await anext(pages)


@asynccontextmanager
async def probing(settings: Settings) -> AsyncIterator[Probe | None]:
    """Yield a running probe as the settings' user.

    None if the mailbox has no folder to list. The errors of a login.
    """
    values = {"page_size": _ROWS, "retry_timeout": _RETRY_SECONDS}
    mailbox = await open_mailbox(settings.model_copy(update=values), limit=_FixedLimit(value=_MAX_IN_FLIGHT))
    try:
        await mailbox.open()
        mails = [folder for folder in await mailbox.folders() if folder.kind == "mail" and folder.readable]
        if not mails:
            yield None
            return
        inbox = next((folder for folder in mails if folder.role == "inbox"), mails[0])
        probe = Probe(mailbox, Listing((inbox,)))
        await probe.ask_once()  # makes the connection
        task = asyncio.get_running_loop().create_task(probe.run())
        try:
            yield probe
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    finally:
        await mailbox.close()


class UserWaits(NamedTuple):
    """The p95 waits of a mock's webmail users, in seconds.

    `alone`: of the same users without clients. `users`: how many there were.
    """

    p95: float
    alone: float
    users: int


class MockUsers:
    """The webmail users of a mock server, at its control address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadSettings(f"--control: {url} is not an address such as http://127.0.0.1:4041")
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the address is a test server's

    async def reset(self) -> None:
        """Restart the server's statistics."""
        await asyncio.to_thread(self._ask, "/reset", b"{}")

    async def waits(self) -> UserWaits | None:
        """Return the waits since the last reset.

        None if there were fewer than MIN_SAMPLES users.
        """
        found = await self.all_waits()
        return found if found.users >= MIN_SAMPLES else None

    async def all_waits(self) -> UserWaits:
        """Return the waits since the last reset, even of few users."""
        users = (await asyncio.to_thread(self._ask, "/stats", None))["load"]["users"]
        wait, alone = users["wait"], users["without_client"]["wait"]
        return UserWaits(wait["p95"], alone["p95"], wait["count"])

    def _ask(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"})
        try:
            with self._opener.open(request, timeout=_CONTROL_SECONDS) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise BadSettings(f"--control: {self._url} is not a mock server's control address ({error.code})") from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"the mock server's control address {self._url} does not answer ({reason})") from None
        except ValueError:
            raise BadSettings(f"--control: {self._url} is not a mock server's control address") from None
