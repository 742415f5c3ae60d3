"""A mock server and a client's profile over several runs, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kerio_mockserver.conditions.model import Action, Churn, Conditions, Fault, Step
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.server import MockServer
from kerio_resync import Report, Settings, VerifyReport, digest, rebuild, verify
from kerio_resync.errors import ResyncError
from kerio_resync.events import Listener, ignore_events
from kerio_resync.server.http.transport import Request
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.mailbox import Mailbox
from simulation import virtual_time
from simulation.direct_transport import DirectTransport
from simulation.mailboxes import cached_mailbox
from simulation.opaque_versions import OpaqueVersions, opaque
from simulation.wire import ORIGIN

CLIENT_TASK = "the client"  # the name of the task that runs the client
PASSWORD = "a secret of the simulation"
Ending = Literal["done", "killed"] | ResyncError


class Kill(BaseException):
    """Ends the client's task at once, as the end of its process would."""


@dataclass
class World:
    """A profile, a mock server, and `now`: the virtual time over all runs in seconds.

    `at[n]` holds the actions before the n-th request of the next run. `report` is that of the last completed rebuild,
    `verdict` that of the last verification. `opaque`: the client sees versions without an order.
    """

    profile: Path
    seed: int = 1
    mails: int = 60
    page_size: int = 12
    overlap: int = 3
    opaque: bool = False
    at: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    now: float = 0.0
    requests: int = 0
    report: Report | None = None
    verdict: VerifyReport | None = None

    def __post_init__(self) -> None:
        self.store: MailboxStore = cached_mailbox(
            self.seed, self.mails, contacts=9, events=7, tasks=3, notes=3, total_bytes=self.mails * 3000
        )
        self.server = MockServer(self.store, password=PASSWORD, seed=self.seed, conditions=Conditions(churn=Churn()))

    def settings(self, **more: object) -> Settings:
        """Return settings of the client for this profile and server."""
        values = {
            "profile": self.profile, "server": ORIGIN, "user": self.server.user, "password": PASSWORD,
            "page_size": self.page_size, "overlap": self.overlap, "max_in_flight": 6,
        }  # fmt: skip
        return Settings.model_validate({**values, **more})

    def mutate(self, action: Action, times: int = 1) -> None:
        """Change the mailbox on the server, `times` times."""
        self.server.churning.do((Step(action=action, times=times),))

    def fault(self, kind: str, method: str, nth: int | None, **more: int) -> None:
        """Add a fault to the replies to `method`; `nth` counts its calls, None means all."""
        fault = Fault.model_validate({"kind": kind, "method": method, "nth": nth, **more})
        faults = (*self.server.conditions.faults, fault)
        self.server.change(self.server.conditions.model_copy(update={"faults": faults}))

    def heal(self) -> None:
        """Remove all faults and all planned actions."""
        self.at.clear()
        self.server.change(self.server.conditions.model_copy(update={"faults": ()}))

    def expire_keys(self) -> None:
        """Make the server forget all sync keys issued so far."""
        self.store.journal.expire(self.store.journal.watermark)

    def run(self, listen: Listener = ignore_events, **settings: object) -> Ending:
        """Rebuild once; return how the run ended."""
        settings_of_run = self.settings(**settings)

        async def work(mailbox: Mailbox) -> None:
            self.report = await rebuild(settings_of_run, listen, mailbox=mailbox, clock=asyncio.get_running_loop().time)

        return virtual_time.run(self._live(work, listen, settings_of_run), start=self.now, disk=self._disk())

    def verify(self, listen: Listener = ignore_events, **how: bool) -> Ending:
        """Verify once and set `verdict`; return how the run ended."""
        settings = self.settings()
        self.verdict = None

        async def work(mailbox: Mailbox) -> None:
            self.verdict = await verify(settings, listen, mailbox=mailbox, **how)

        return virtual_time.run(self._live(work, listen, settings), start=self.now, disk=self._disk())

    def _disk(self) -> Callable[[], float]:
        """Return the seconds that each database call takes.

        One in ten takes up to a second, by the seed.
        """
        rng = random.Random(f"disk {self.seed}/{self.now}")
        return lambda: rng.random() if rng.random() < 0.1 else 0.0

    async def _live(
        self, work: Callable[[Mailbox], Coroutine[Any, Any, None]], listen: Listener, settings: Settings
    ) -> Ending:
        self.requests = 0
        task: asyncio.Task[None] | None = None

        async def before(request: Request) -> None:
            if b'"Session.logout"' in (request.body or b""):
                return  # comes after the last sync key: actions there would belong to the next run
            self.requests += 1
            for action in self.at.pop(self.requests, ()):
                try:
                    action()
                except Kill:
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(3600)

        rng = random.Random(f"{self.seed}/{self.now}")
        transport = DirectTransport(self.server, before)
        mailbox: Mailbox = KerioMailbox(settings, listen, transport=transport, chance=rng.random)
        if self.opaque:
            mailbox = OpaqueVersions(mailbox)
        loop = asyncio.get_running_loop()
        try:
            task = asyncio.create_task(work(mailbox), name=CLIENT_TASK)
            await task
        except asyncio.CancelledError:
            return "killed"
        except ResyncError as error:
            return error
        finally:
            self.now = loop.time() + 1
        return "done"

    def differences(self, *, everything: bool = False) -> list[str]:
        """Return the digest lines that only the cache or only the server has.

        [] if both hold the same.

        With `everything`, folders that other users share are compared too.
        """

        async def cache_lines() -> set[str]:
            return {line async for line in digest(self.settings())}

        cache = virtual_time.run(cache_lines())
        server = {self._seen(line) for line in self.store.digest(everything=everything)}
        return sorted(f"here  {line}" for line in cache - server) + sorted(f"there {line}" for line in server - cache)

    def _seen(self, line: str) -> str:
        """Return a line of the server's digest with the version that the client sees."""
        kind, item_id, version, content = line.split()
        return f"{kind} {item_id} {opaque(version) if self.opaque else version} {content}"


async def differences(store: MailboxStore, settings: Settings) -> set[str]:
    """Return the digest lines that only the server's mailbox or only the cache has."""
    cache = {line async for line in digest(settings)}
    return cache ^ {line.rstrip("\n") for line in store.digest()}


def kill() -> None:
    """End the run here, as SIGKILL would."""
    raise Kill
