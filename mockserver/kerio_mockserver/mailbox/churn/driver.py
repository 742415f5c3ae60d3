"""Changes of a mailbox while a client reads it.

Each step depends on the seed, its number and the mailbox only: it picks by position in a stable order, never by time.
Two runs in which the same steps happen in the same order therefore have the same journal, whatever their speed. Random
steps (`per_second`) always come in order, and each scripted step is drawn separately. A step that finds nothing to
change, or that the mailbox refuses, changes nothing and is in the history as such.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from random import Random
from typing import NamedTuple

from kerio_mockserver.conditions.model import Action, Churn, Step
from kerio_mockserver.conditions.outages import starts
from kerio_mockserver.mailbox.churn.actions import ACTIONS
from kerio_mockserver.mailbox.errors import NoSuchFolder, NoSuchItem, NotPermitted, QuotaReached
from kerio_mockserver.mailbox.store import MailboxStore


class Happened(NamedTuple):
    """One line of the history; `id` is that of what changed, empty if nothing did."""

    number: str
    action: Action
    id: str


class Churning:
    """The active churn of the mailbox that `store()` returns at that time."""

    def __init__(self, store: Callable[[], MailboxStore], churn: Churn | None = None, *, seed: int | str = 0) -> None:
        self._store = store
        self._seed = seed
        self._task: asyncio.Task[None] | None = None
        self._running = False
        self._set(churn)

    def _set(self, churn: Churn | None) -> None:
        self.churn = churn
        self._replies: Counter[int] = Counter()
        self._drawn = 0
        self._asked = 0
        self._history: list[Happened] = []

    def start(self) -> None:
        """Start the random changes; needs a running loop, whose time they use."""
        self._running = True
        if self.churn is not None and self.churn.per_second and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._by_chance(self.churn))

    def stop(self) -> None:
        self._running = False
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def change(self, churn: Churn | None) -> None:
        """Replace the churn; numbers and history restart."""
        running = self._running
        self.stop()
        self._set(churn)
        if running:
            self.start()

    def replied(self, method: str) -> None:
        """Make the scripted changes due after a reply to `method`."""
        if self.churn is None:
            return
        for index, step in enumerate(self.churn.script):
            if not fnmatchcase(method, step.method):
                continue
            self._replies[index] += 1
            number = self._replies[index]
            if starts(step.nth, step.every, number):
                self._repeat(step, f"script-{index}/{number}")

    def do(self, steps: Sequence[Step]) -> tuple[Happened, ...]:
        """Make these steps now, whatever they say of when."""
        known = len(self._history)
        for step in steps:
            self._asked += 1
            self._repeat(step, f"asked/{self._asked}")
        return tuple(self._history[known:])

    def history(self) -> tuple[Happened, ...]:
        """Return the steps since the start or the last change of the churn, in order."""
        return tuple(self._history)

    async def _by_chance(self, churn: Churn) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time()
        actions, weights = list(churn.weights), list(churn.weights.values())
        while churn.limit is None or self._drawn < churn.limit:
            number, self._drawn = self._drawn, self._drawn + 1
            rng = Random(f"{self._seed}/churn/{number}")
            at += rng.expovariate(churn.per_second)
            action = rng.choices(actions, weights)[0]
            await asyncio.sleep(max(0.0, at - loop.time()))
            self._perform(action, None, f"churn/{number}", rng)

    def _repeat(self, step: Step, name: str) -> None:
        for time in range(step.times):
            number = f"{name}/{time}"
            self._perform(step.action, step.folder, number, Random(f"{self._seed}/{number}"))

    def _perform(self, action: Action, folder: str | None, number: str, rng: Random) -> None:
        try:
            changed = ACTIONS[action](self._store(), rng, folder)
        except (NoSuchFolder, NoSuchItem, NotPermitted, QuotaReached):
            changed = ""
        self._history.append(Happened(number, action, changed))
