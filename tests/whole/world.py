"""A mailbox and a profile that meet in virtual time: the real client, the real server, and what comes between them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks import virtual_time
from kerio_mockserver.conditions.model import Action, Churn, Conditions, Fault, Step
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.server import MockServer
from kerio_resync import Report, Settings, VerifyReport, digest, rebuild, verify
from kerio_resync.errors import ResyncError
from kerio_resync.events import Listener, ignore_events
from kerio_resync.server.http.transport import Request
from kerio_resync.server.kerio.mailbox import KerioMailbox
from tests.simulation import ORIGIN, CoreTransport, stocked

CLIENT = "the client"  # the name of its task
PASSWORD = "a secret of the simulation"
Ending = Literal["done", "killed"] | ResyncError


class Kill(BaseException):
    """The end of the process, as far as the client can tell."""


@dataclass
class World:
    """`at[n]`: what happens before the n-th request of the next run. `now`: seconds of virtual time, of all runs."""

    profile: Path
    seed: int = 1
    mails: int = 60
    page_size: int = 12
    overlap: int = 3
    at: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    now: float = 0.0
    requests: int = 0
    report: Report | None = None
    verdict: VerifyReport | None = None

    def __post_init__(self) -> None:
        self.store: MailboxStore = stocked(
            self.seed, self.mails, contacts=9, events=7, tasks=3, notes=3, total_bytes=self.mails * 3000
        )
        self.core = MockServer(self.store, password=PASSWORD, seed=self.seed, conditions=Conditions(churn=Churn()))

    def settings(self, **more: object) -> Settings:
        values = {
            "profile": self.profile, "server": ORIGIN, "user": self.core.user, "password": PASSWORD,
            "page_size": self.page_size, "overlap": self.overlap, "max_in_flight": 6,
        }  # fmt: skip
        return Settings.model_validate({**values, **more})

    def mutate(self, action: Action, times: int = 1) -> None:
        self.core.churning.do((Step(action=action, times=times),))

    def fault(self, kind: str, method: str, nth: int | None, **more: int) -> None:
        fault = Fault.model_validate({"kind": kind, "method": method, "nth": nth, **more})
        faults = (*self.core.conditions.faults, fault)
        self.core.change(self.core.conditions.model_copy(update={"faults": faults}))

    def heal(self) -> None:
        """No more faults, and nothing more will happen."""
        self.at.clear()
        self.core.change(self.core.conditions.model_copy(update={"faults": ()}))

    def expire_keys(self) -> None:
        self.store.journal.expire(self.store.journal.watermark)

    def run(self, listen: Listener = ignore_events, **settings: object) -> Ending:
        """One run of the program, to its end or its death."""
        with_these = self.settings(**settings)

        async def work(mailbox: KerioMailbox) -> None:
            self.report = await rebuild(with_these, listen, mailbox=mailbox, clock=asyncio.get_running_loop().time)

        return virtual_time.run(self._live(work, listen, with_these), start=self.now, disk=self._disk())

    def verify(self, listen: Listener = ignore_events, **how: bool) -> Ending:
        """One verification, to its end (then `verdict` is what came of it) or its death."""
        settings = self.settings()
        self.verdict = None

        async def work(mailbox: KerioMailbox) -> None:
            self.verdict = await verify(settings, listen, mailbox=mailbox, **how)

        return virtual_time.run(self._live(work, listen, settings), start=self.now, disk=self._disk())

    def _disk(self) -> Callable[[], float]:
        """Seconds that each call of the database takes: mostly none, now and then up to a second, by the seed."""
        rng = random.Random(f"disk {self.seed}/{self.now}")
        return lambda: rng.random() if rng.random() < 0.1 else 0.0

    async def _live(
        self, work: Callable[[KerioMailbox], Coroutine[Any, Any, None]], listen: Listener, settings: Settings
    ) -> Ending:
        self.requests = 0
        task: asyncio.Task[None] | None = None

        async def before(request: Request) -> None:
            if b'"Session.logout"' in (request.body or b""):
                return  # what happens after the last sync key is another run's business
            self.requests += 1
            for happening in self.at.pop(self.requests, ()):
                try:
                    happening()
                except Kill:
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(3600)

        rng = random.Random(f"{self.seed}/{self.now}")
        mailbox = KerioMailbox(settings, listen, transport=CoreTransport(self.core, before), chance=rng.random)
        loop = asyncio.get_running_loop()
        try:
            task = asyncio.create_task(work(mailbox), name=CLIENT)
            await task
        except asyncio.CancelledError:
            return "killed"
        except ResyncError as error:
            return error
        finally:
            self.now = loop.time() + 1
        return "done"

    def differences(self, *, everything: bool = False) -> list[str]:
        """Lines of the two digests that are not in both; [] if cache and server hold the same.

        `everything`: what others share is compared too.
        """

        async def ours() -> list[str]:
            return [line async for line in digest(self.settings())]

        mine, theirs = (
            set(virtual_time.run(ours())),
            {line.rstrip("\n") for line in self.store.digest(everything=everything)},
        )
        return sorted(f"here  {line}" for line in mine - theirs) + sorted(f"there {line}" for line in theirs - mine)


async def differences(store: MailboxStore, settings: Settings) -> set[str]:
    """The lines of the digests of a server's mailbox and of a cache that are not in both."""
    ours = {line async for line in digest(settings)}
    return ours ^ {line.rstrip("\n") for line in store.digest()}


def kill() -> None:
    raise Kill
