"""The load: calls and webmail users wait in one queue for the same workers.

A call is admitted or refused, waits for a worker, does its work, occupies the worker for its service time, and releases
it, also when it is cancelled. Time is the event loop's, so that everything runs in virtual time.

A refused user retries after the time that the refusal names, and its wait counts from the first attempt. So a client
that fills the queue delays users but does not remove them.

Not modelled: processor sharing (a worker does one thing at a time), and users who give up.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Self

from kerio_mockserver.conditions.model import Cost, Load
from kerio_mockserver.conditions.outages import Outages
from kerio_mockserver.conditions.webmail_users import Arrival, LoadStats, arrivals, draw_service_times
from kerio_mockserver.messages import Reply

_PATIENCE = 2  # seconds after which a refused user tries again if the refusal names no time


class _User:
    __slots__ = ("arrival", "came")

    def __init__(self, came: float, arrival: Arrival) -> None:
        self.came = came
        self.arrival = arrival


class WorkerPool:
    """The active load; `grace_s` is how long a call may have been under way.

    Use `async with workers.slot(method, params) as slot:`; then answer with `slot.refusal` (a Reply) or the error
    `slot.code` (4100, 4101), or do the work and `await slot.serve(size of the reply)`.
    """

    def __init__(self, load: Load | None = None, *, seed: int | str = 0, grace_s: float = 0.1) -> None:
        self.seed = seed
        self.grace_s = grace_s
        self._queue: deque[asyncio.Future[None] | _User] = deque()
        self._busy = 0
        self._started = False
        self._timers: set[asyncio.TimerHandle] = set()
        self._away: set[asyncio.TimerHandle] = set()
        self._pause = (math.inf, -math.inf)
        self._set(load)

    def _set(self, load: Load | None) -> None:
        self.load = load
        self._calls = 0
        self._crowd: Iterator[Arrival] | None = None
        self._next_user: asyncio.TimerHandle | None = None
        self._outages = Outages(load or Load(), self.seed, _now)
        self.tally = LoadStats(load.workers if load else 1)

    @property
    def busy(self) -> int:
        """The number of workers that serve a call or a user."""
        return self._busy

    @property
    def queued(self) -> int:
        """The number of calls and users that wait for a worker."""
        return len(self._queue)

    # start and end

    def start(self) -> None:
        """Start the users; needs a running loop."""
        self._started = True
        if self.load and self.load.users and self._crowd is None:
            self._crowd = arrivals(self.load.users, self.seed)
            self._await_user(_now(), next(self._crowd))

    def stop(self) -> None:
        """Stop the users and forget those in service."""
        self._started = False
        if self._next_user is not None:
            self._next_user.cancel()
        for timer in self._timers | self._away:
            timer.cancel()
        self._busy -= len(self._timers)
        self._timers.clear()
        self._away.clear()
        self._queue = deque(waiter for waiter in self._queue if not isinstance(waiter, _User))
        self._crowd = self._next_user = None

    def change(self, load: Load | None) -> None:
        """Replace the load: counts and users restart, queued calls keep their places."""
        running = self._started
        self.stop()
        self._set(load)
        if running:
            self.start()
        self._grant()

    def reset(self) -> None:
        """Reset the counts; the load continues."""
        self.tally = LoadStats(self.load.workers if self.load else 1)

    # calls

    def slot(self, method: str, params: Any = None) -> WorkerSlot:
        """Return the slot of a call."""
        return WorkerSlot(self, method, params)

    def refusal(self, method: str) -> Reply | None:
        """Count a call; return the reply that refuses it if there is no place."""
        load = self.load
        if load is None:
            return None
        if self._pause[0] <= _now() < self._pause[1]:
            self.tally.in_pause += 1
        window = self._outages.refusing_window()
        if window is not None:
            return self._refuse(method, window.status, window.retry_after_s)
        if load.places is not None and self._busy >= load.workers and len(self._queue) >= load.places:
            return self._refuse(method, load.status, load.retry_after_s)
        return None

    def _refuse(self, method: str, status: int, retry_after_s: int | None) -> Reply:
        self.tally.refused += 1
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if retry_after_s is not None:
            headers["Retry-After"] = str(retry_after_s)
            begin, until = _now() + self.grace_s, _now() + retry_after_s
            self._pause = (
                begin if _now() >= self._pause[1] else min(self._pause[0], begin),
                max(self._pause[1], until),
            )
        return Reply(status, headers, b"The server is busy.\n", method)

    def code(self, method: str, params: Any) -> int | None:
        """Count a call; return 4100 or 4101 if folder or mailbox is not available now."""
        return self._outages.code(method, params) if self.load else None

    async def take(self) -> None:
        """Wait for a worker and take it."""
        came = _now()
        if self.load is None or self._busy < self.load.workers:
            self._busy += 1
        else:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._join(place)
            try:
                await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.give_back()
                elif place in self._queue:  # otherwise it was cancelled, and skipped
                    self._queue.remove(place)
                raise
        self.tally.calls.add(_now() - came)

    def service_s(self, method: str, size: int) -> float:
        """Return how long the next call occupies its worker for a reply of `size` bytes."""
        load = self.load
        if load is None:
            return 0.0
        usual = Cost(method="*", call_s=load.call_s, kb_s=load.kb_s)
        cost = next((entry for entry in load.costs if fnmatchcase(method, entry.method)), usual)
        mean = cost.call_s + cost.kb_s * size / 1000
        number, self._calls = self._calls, self._calls + 1
        return mean * draw_service_times(load.spread, Random(f"{self.seed}/service/{number}")) if mean else 0.0

    def give_back(self) -> None:
        """Release a worker."""
        self._busy -= 1
        self._grant()

    # queue

    def _join(self, waiter: asyncio.Future[None] | _User) -> None:
        self._queue.append(waiter)
        self.tally.longest_queue = max(self.tally.longest_queue, len(self._queue))

    def _grant(self) -> None:
        while self._queue and (self.load is None or self._busy < self.load.workers):
            waiter = self._queue.popleft()
            if isinstance(waiter, _User):
                self._busy += 1
                self._serve_user(waiter)
            elif not waiter.done():
                self._busy += 1
                waiter.set_result(None)

    # users

    def _await_user(self, since: float, arrival: Arrival) -> None:
        loop = asyncio.get_running_loop()
        self._next_user = loop.call_at(since + arrival.at, self._user_comes, since, arrival)

    def _user_comes(self, since: float, arrival: Arrival) -> None:
        if self.load is None or self._crowd is None:
            return
        self._await_user(since, next(self._crowd))
        self.tally.alone.add(arrival)
        self._seat(_User(_now(), arrival))

    def _seat(self, user: _User) -> None:
        """Give the user a worker or a place in the queue; else the user retries later."""
        load = self.load or Load()
        if self._busy < load.workers:
            self._busy += 1
            self._serve_user(user)
        elif load.places is not None and len(self._queue) >= load.places:
            self.tally.turned_away += 1
            self._come_again(user, load.retry_after_s or _PATIENCE)
        else:
            self._join(user)

    def _come_again(self, user: _User, seconds: float) -> None:
        timer: asyncio.TimerHandle

        def come() -> None:
            self._away.discard(timer)
            self._seat(user)

        timer = asyncio.get_running_loop().call_later(seconds, come)
        self._away.add(timer)

    def _serve_user(self, user: _User) -> None:
        wait = _now() - user.came
        self.tally.users.add(wait)
        self.tally.responses.add(wait + user.arrival.service_s)
        self.tally.busy_s += user.arrival.service_s
        timer: asyncio.TimerHandle

        def leave() -> None:
            self._timers.discard(timer)
            self.give_back()

        timer = asyncio.get_running_loop().call_later(user.arrival.service_s, leave)
        self._timers.add(timer)


class WorkerSlot:
    """One call's way through the load.

    Refused (`refusal`, `code`), or with a worker until the block ends.
    """

    __slots__ = ("_has_worker", "_method", "_params", "_workers", "code", "refusal")

    def __init__(self, workers: WorkerPool, method: str, params: Any) -> None:
        self._workers = workers
        self._method = method
        self._params = params
        self._has_worker = False
        self.refusal: Reply | None = None
        self.code: int | None = None

    async def __aenter__(self) -> Self:
        workers = self._workers
        if workers.load is None:
            return self
        self.refusal = workers.refusal(self._method)
        if self.refusal is None:
            self.code = workers.code(self._method, self._params)
        if self.refusal is None and self.code is None:
            await workers.take()
            self._has_worker = True
        return self

    async def serve(self, size: int) -> None:
        """Occupy the worker for the time that a reply of `size` bytes takes."""
        if not self._has_worker:
            return
        seconds = self._workers.service_s(self._method, size)
        self._workers.tally.busy_s += seconds
        if seconds:
            await asyncio.sleep(seconds)

    async def __aexit__(self, *_: object) -> None:
        if self._has_worker:
            self._has_worker = False
            self._workers.give_back()


def _now() -> float:
    return asyncio.get_running_loop().time()
