"""One direction of a link.

Takes the bytes of many connections and delivers each when it is due.

Connections with data take turns of some packets each, so that they share the rate evenly and a small reply does not
wait for a large one. Bytes leave the link in order, at the time that `Link.due` and the jitter give. They are committed
to the link shortly before their turn, so that changed conditions apply at once to all that still waits. Wake-ups are at
least `GRAIN` apart: at 100 Mbit/s each delivers about 12 kB. Timers fire late (usually 0.2 ms, 2 % of a round trip of
10 ms); the shaper learns by how much and sets them earlier.

There are no sockets here: a connection is a `Flow`, the clock and the timer are parameters.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from kerio_mockserver.conditions.link import Link, LinkFault, Way

GRAIN = 0.001
_AHEAD = 2 * GRAIN
_LATEST = GRAIN / 2  # a timer that is later than this shows a busy process
_LEARN = 0.1


class Mark(Enum):
    """A value in a stream that is not a byte."""

    END = "end"
    RESET = "reset"
    TRUNCATED = "truncated"


class Sink(Protocol):
    """The receiver of a flow, which can also hold back its sender."""

    def deliver(self, data: bytes | memoryview | Mark) -> None: ...

    def hold_sender(self, hold: bool) -> None: ...


class Flow:
    """One direction of one connection.

    Nothing of it enters the link before the instant `begins`.
    """

    def __init__(self, line: Shaper, sink: Sink, begins: float, breaks: list[tuple[int, LinkFault]]) -> None:
        self.line = line
        self.sink = sink
        self.held_until = begins
        self.breaks = breaks
        self.pending: deque[tuple[float, memoryview | Mark]] = deque()
        self.waiting = 0
        self.flying = 0
        self.sent = 0
        self.blocked = False
        self.queued = False
        self.ended = False
        self.over = False
        self.sender_held = False

    def offer(self, data: bytes | Mark) -> None:
        """Take bytes from the sender."""
        if self.over or self.ended:
            return
        if isinstance(data, Mark):
            self.ended = True
            self.pending.append((self.line.clock(), data))
        elif data:
            self.pending.append((self.line.clock(), memoryview(data)))
            self.waiting += len(data)
        self.balance()
        self.line.ready(self)

    def reset(self) -> None:
        """Drop what has not entered the link, after the sender's reset.

        What is on its way still arrives.
        """
        self.pending.clear()
        self.waiting = 0
        self.ended = False
        self.offer(Mark.RESET)

    def abandon(self) -> None:
        """Drop everything: the receiver has closed."""
        self.over = True
        self.pending.clear()
        self.waiting = 0

    def block(self, blocked: bool) -> None:
        """Stop or resume delivery."""
        self.blocked = blocked
        if not blocked:
            self.line.ready(self)

    def balance(self) -> None:
        """Hold the sender back while the link holds enough of its bytes."""
        held = self.waiting + self.flying >= self.line.room
        if held != self.sender_held and not self.over:
            self.sender_held = held
            self.sink.hold_sender(held)

    def take(self, most: int) -> tuple[float, memoryview | Mark] | None:
        """Return the next bytes for the link, at most `size`, and their arrival.

        None if there are none.
        """
        came, first = self.pending[0]
        if self.breaks and self.sent >= self.breaks[0][0] and not isinstance(first, Mark):
            return self._break(came)
        if isinstance(first, Mark):
            self.pending.popleft()
            return came, first
        if self.breaks:
            most = min(most, self.breaks[0][0] - self.sent)
        piece, rest = first[:most], first[most:]
        if rest:
            self.pending[0] = (came, rest)
        else:
            self.pending.popleft()
        self.waiting -= len(piece)
        self.flying += len(piece)
        self.sent += len(piece)
        return came, piece

    def _break(self, came: float) -> tuple[float, Mark] | None:
        _, what = self.breaks.pop(0)
        self.line.breaks[what.kind] = self.line.breaks.get(what.kind, 0) + 1
        if what.kind == "stall":
            self.held_until = self.line.clock() + what.seconds if what.seconds else math.inf
            return None
        self.pending.clear()
        self.waiting = 0
        self.ended = True
        return came, Mark.RESET if what.kind == "reset" else Mark.TRUNCATED


class Shaper:
    """One direction of a link, shared by all flows.

    `set_alarm(at)` makes the caller call `wake` at `at`, replacing an earlier time. `handling_s` is the time that
    reading and writing a piece takes; it counts as part of the delay.
    """

    def __init__(
        self,
        link: Link,
        way: Way,
        *,
        seed: int | str,
        clock: Callable[[], float],
        set_alarm: Callable[[float], None],
        handling_s: float = 0.0,
    ) -> None:
        self.link = link
        self.way = way
        self.clock = clock
        self.bytes = 0
        self.wire_bytes = 0
        self.breaks: dict[str, int] = {}
        self.room = link.room(way)
        self._seed = seed
        self._set_alarm = set_alarm
        self._born = clock()
        self._free_at = -math.inf
        self._landed = -math.inf
        self._woken = -math.inf
        self._alarm_at = math.inf
        self._late = 0.0
        self._handling = handling_s
        self._turns: deque[Flow] = deque()
        self._flying: deque[tuple[float, Flow, memoryview | Mark]] = deque()
        self._held: list[tuple[float, int, Flow]] = []
        self._order = itertools.count()

    def change(self, link: Link) -> None:
        """Apply another link from now on; bytes on their way arrive as before."""
        self.link = link
        self.room = link.room(self.way)
        self._work()

    def ready(self, flow: Flow) -> None:
        """Note that a flow may have bytes to send."""
        if flow.queued or flow.blocked or flow.over or not flow.pending:
            return
        flow.queued = True
        if flow.held_until > self.clock():
            heapq.heappush(self._held, (flow.held_until, next(self._order), flow))
        else:
            self._turns.append(flow)
        self._work()

    def wake(self) -> None:
        """Deliver what is due, and set the timer for the next event."""
        self._woken = self.clock()
        late = min(max(0.0, self._woken - self._alarm_at), _LATEST)
        self._late += _LEARN * (late - self._late)
        self._work()

    def _work(self) -> None:
        now = self.clock()
        while self._held and self._held[0][0] <= now:
            self._turns.append(heapq.heappop(self._held)[2])
        self._commit(now)
        lead = self._late + self._handling
        self._hand_over(now + lead)
        self._alarm_at = max(self._next() - lead, self._woken + GRAIN)
        self._set_alarm(self._alarm_at)

    def _next(self) -> float:
        instants = [self._held[0][0] if self._held else math.inf]
        if self._flying:
            instants.append(self._flying[0][0])
        if self._turns:
            instants.append(self._free_at - self.link.delay - GRAIN)
        return min(instants)

    def _commit(self, now: float) -> None:
        """Put on the link what enters it until a moment from now, in turns."""
        portion = self.link.portion(self.way, GRAIN)
        while self._turns and self._free_at - self.link.delay < now + _AHEAD:
            flow = self._turns.popleft()
            flow.queued = False
            if flow.over or flow.blocked or not flow.pending:
                continue
            taken = flow.take(portion)
            if taken is not None:
                self._put(flow, *taken)
            self._requeue(flow, now)

    def _put(self, flow: Flow, came: float, what: memoryview | Mark) -> None:
        size = 0 if isinstance(what, Mark) else len(what)
        self._free_at = self.link.due(self._free_at, max(came, flow.held_until), size, self.way)
        shift = self.link.shift(self._seed, self.way, self._free_at - self._born)
        self._landed = max(self._landed, self._free_at + shift)
        self._flying.append((self._landed, flow, what))

    def _requeue(self, flow: Flow, now: float) -> None:
        if not flow.pending:
            return
        flow.queued = True
        if flow.held_until > now:
            heapq.heappush(self._held, (flow.held_until, next(self._order), flow))
        else:
            self._turns.append(flow)

    def _hand_over(self, now: float) -> None:
        while self._flying and self._flying[0][0] <= now:
            _, flow, what = self._flying.popleft()
            if not isinstance(what, Mark):
                flow.flying -= len(what)
                self.bytes += len(what)
                self.wire_bytes += self.link.on_wire(len(what))
            if not flow.over:
                flow.sink.deliver(what)
                flow.balance()
