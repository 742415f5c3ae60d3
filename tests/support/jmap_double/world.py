"""A JMAP server and a client's profile over several runs, in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kerio_resync import Report, VerifyReport, rebuild, verify
from kerio_resync.errors import ResyncError
from kerio_resync.events import Listener, ignore_events
from kerio_resync.server.http.transport import Request
from kerio_resync.server.jmap.mailbox import JmapMailbox
from kerio_resync.settings import Settings
from simulation import virtual_time
from simulation.world import Kill
from tests.support.jmap_double.choices import Choices
from tests.support.jmap_double.direct import DirectTransport
from tests.support.jmap_double.running import settings_of
from tests.support.jmap_double.server import JmapDouble
from tests.support.jmap_double.store import Store

Ending = Literal["done", "killed"] | ResyncError


@dataclass
class JmapWorld:
    """A profile, a double, and `now`: the virtual time over all runs in seconds.

    `at[n]` holds the actions before the n-th request of the next run.
    """

    profile: Path
    choices: Choices
    seed: int = 0
    mails: int = 30
    at: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    now: float = 0.0
    requests: int = 0
    report: Report | None = None
    verdict: VerifyReport | None = None

    def __post_init__(self) -> None:
        self.double = JmapDouble(self.choices, self.seed, latency=0.05)
        self.double.store.fill(self.mails)

    def run(self, listen: Listener = ignore_events, **settings: object) -> Ending:
        """Rebuild once; return how the run ended."""
        return self._live(lambda how, mailbox: self._rebuild(how, listen, mailbox), listen, **settings)

    def verify(self, *, deep: bool = False, repair: bool = False) -> Ending:
        """Verify once and set `verdict`; return how the run ended."""

        async def work(settings: Settings, mailbox: JmapMailbox) -> None:
            self.verdict = await verify(settings, mailbox=mailbox, deep=deep, repair=repair)

        return self._live(work, ignore_events)

    async def _rebuild(self, settings: Settings, listen: Listener, mailbox: JmapMailbox) -> None:
        self.report = await rebuild(settings, listen, mailbox=mailbox, clock=asyncio.get_running_loop().time)

    def _live(
        self, work: Callable[[Settings, JmapMailbox], Coroutine[Any, Any, None]], listen: Listener, **more: object
    ) -> Ending:
        settings = settings_of(self.double, self.profile, max_in_flight=6, **more)
        rng = random.Random(f"{self.seed}/{self.now}")
        self.requests = 0
        task: asyncio.Task[None] | None = None

        async def before(request: Request) -> None:
            self.requests += 1
            for action in self.at.pop(self.requests, ()):
                try:
                    action()
                except Kill:
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(3600)

        async def main() -> Ending:
            nonlocal task
            transport = DirectTransport(self.double, before)
            mailbox = JmapMailbox(settings, listen, transport=transport, chance=rng.random)
            try:
                task = asyncio.create_task(work(settings, mailbox))
                await task
            except asyncio.CancelledError:
                return "killed"
            except ResyncError as error:
                return error
            finally:
                self.now = asyncio.get_running_loop().time() + 1
            return "done"

        return virtual_time.run(main(), start=self.now)

    def heal(self) -> None:
        """Remove all faults and all planned actions."""
        self.at.clear()
        self.double.faults.clear()
        self.double.store.stuck = False

    def differences(self) -> list[str]:
        """Return what the cache and the server do not have in common; [] if they are equal."""
        return differences(self.profile, self.double.store)


def differences(profile: Path, store: Store) -> list[str]:
    """Return what the cache of a profile and a store do not have in common."""
    server = {
        (mail_id, folders, tuple(sorted(words)), sha256)
        for mail_id, (folders, words, sha256) in store.contents().items()
    }
    folders = {(one.id, one.name, one.parent or "") for one in store.mailboxes.values()}
    with closing(sqlite3.connect(f"file:{profile / 'cache.db'}?mode=ro", uri=True)) as db:
        cache = set(_mails(db))
        cached = set(db.execute("SELECT id, name, parent_id FROM folder WHERE standing = 'server'").fetchall())
    return [
        *(f"here  {one}" for one in sorted(cache - server)),
        *(f"there {one}" for one in sorted(server - cache)),
        *(f"folder here  {one}" for one in sorted(cached - folders)),
        *(f"folder there {one}" for one in sorted(folders - cached)),
    ]


def _mails(db: sqlite3.Connection) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...], str]]:
    """Read every mail: its columns have to say what its payload says."""
    rows = db.execute(
        "SELECT item.number, item.id, seen, flagged, answered, payload, hex(sha256) FROM item"
        " LEFT JOIN attachment ON attachment.item = item.number AND role = 'source' AND state = 'done'"
        " WHERE kind = 'mail'"
    ).fetchall()
    for number, item_id, seen, flagged, answered, payload, sha256 in rows:
        placed = db.execute(
            "SELECT folder.id FROM placement JOIN folder ON folder.number = placement.folder"
            " WHERE placement.item = ? ORDER BY folder.id",
            (number,),
        ).fetchall()
        email = json.loads(payload)
        words = email["keywords"]
        assert (bool(seen), bool(flagged), bool(answered)) == tuple(
            words.get(word, False) for word in ("$seen", "$flagged", "$answered")
        ), item_id
        folders = tuple(folder for (folder,) in placed)
        assert folders == tuple(sorted(email["mailboxIds"])), item_id
        yield item_id, folders, tuple(sorted(words)), sha256.lower()
