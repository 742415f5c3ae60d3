"""What changes in a mailbox while someone reads it: mail comes, is read, moved and deleted, folders come and go.

Each step is a function of the seed, its number and the mailbox it meets: what it picks, it picks by place in a stable
order, never by time. So two runs in which the same steps happen in the same order have the same journal, however fast
either went: steps by chance (`per_second`) always come in order, and scripted ones are drawn each for itself. A step
that finds nothing to change, or that the mailbox refuses, changes nothing and stands in the history as that.
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
    """A line of the history. `id`: of what changed (the new one of what moved), empty if nothing did."""

    number: str
    action: Action
    id: str


class Churning:
    """The churn at work on the mailbox that `store` gives (asked each time, for it may be made anew)."""

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
        """Changes by chance begin (needs a running loop, whose time they go by)."""
        self._running = True
        if self.churn is not None and self.churn.per_second and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._by_chance(self.churn))

    def stop(self) -> None:
        self._running = False
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def change(self, churn: Churn | None) -> None:
        """Replaces the churn; numbers and history begin anew."""
        running = self._running
        self.stop()
        self._set(churn)
        if running:
            self.start()

    def replied(self, method: str) -> None:
        """A reply to `method` was made: does what the script says for after it."""
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
        """Does the steps now, whatever they say of when."""
        known = len(self._history)
        for step in steps:
            self._asked += 1
            self._repeat(step, f"asked/{self._asked}")
        return tuple(self._history[known:])

    def history(self) -> tuple[Happened, ...]:
        """What happened, in order, since the start or the last change of the churn."""
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
