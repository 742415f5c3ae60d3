"""The value of a link, and its arithmetic: when which byte arrives. No sockets and no clock are known here.

A line is a delay line: bytes leave one after the other at the line's rate and arrive a fixed time later, so that a
long way does not make it narrow. All connections share it, each way by itself. What is not modelled: the slow start
of TCP (a relay has the bytes at once, a sender on a real line needs about log2(rate * rtt / 15 kB) round trips to fill
it), loss below TCP (its effect on a rate belongs into the rate), and the acknowledgements' share of the other way.

`header_bytes` 0 (the default) means that a rate is what TCP delivers, as a speed test shows it, and not the rate of the
wire below it; 52 (IPv4, TCP with time stamps) makes it the rate of IP packets, of which 1,448 bytes in 1,500 are data.
"""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kerio_mockserver.conditions.values import Count, Rate, Share, Value

Way = Literal["down", "up"]
PACKET = 1500  # bytes of an IP packet on Ethernet
JITTER_SLOT = 0.05  # seconds for which a line keeps its delay: queues and radio cells change on this scale
SLACK = 0.1  # seconds of line time that the queue holds beyond what is on its way, so that a pause here is none there
MIN_ROOM = 256 * 1024
OPEN_ROOM = 16 * 1024 * 1024  # bytes of a connection that an unlimited line holds


class LinkFault(Value):
    """What befalls a share of the connections at byte `at` of one way, or after `mean_bytes` on average.

    `reset`: both sides get a TCP reset. `truncate`: both sides get an orderly end in the middle of things. `stall`:
    that way of that connection stands still for `seconds` (0: for ever). `limit`: at most so many connections are
    befallen.
    """

    kind: Literal["reset", "truncate", "stall"]
    way: Way = "down"
    at: int | None = Field(default=None, ge=0)
    mean_bytes: float | None = Field(default=None, gt=0)
    chance: Share = 1.0
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    limit: Count | None = None

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if (self.at is None) == (self.mean_bytes is None):
            raise ValueError("a break needs either `at` or `mean_bytes`")
        return self

    def offset(self, rng: Random) -> int | None:
        """The byte of the stream before which it breaks; None if this connection is spared."""
        if rng.random() >= self.chance:
            return None
        if self.mean_bytes is not None:
            return int(rng.expovariate(1.0 / self.mean_bytes))
        return self.at


class Link(Value):
    """A line to the server. A rate of None has no limit. `jitter_s`: by how much the round trip varies, half each way.

    `setup_round_trips`: how long a new connection waits before its first byte (1: the handshake of TCP).
    """

    down_bytes_s: Rate | None = None
    up_bytes_s: Rate | None = None
    rtt_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    jitter_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    setup_round_trips: Annotated[float, Field(ge=0, le=10)] = 1.0
    header_bytes: Annotated[int, Field(ge=0, le=200)] = 0
    breaks: tuple[LinkFault, ...] = ()

    def rate(self, way: Way) -> float:
        """Bytes a second; infinite if there is no limit."""
        rate = self.down_bytes_s if way == "down" else self.up_bytes_s
        return math.inf if rate is None else rate

    @property
    def delay(self) -> float:
        """Seconds one way."""
        return self.rtt_s / 2

    @property
    def setup_s(self) -> float:
        return self.rtt_s * self.setup_round_trips

    def on_wire(self, size: int) -> int:
        """The bytes that `size` bytes of a stream take on the line."""
        return size + self.header_bytes * -(-size // (PACKET - self.header_bytes))

    def due(self, free_at: float, arrival: float, size: int, way: Way = "down") -> float:
        """When the last of `size` bytes comes out that went in at `arrival`; what was before is out at `free_at`."""
        return max(free_at, arrival + self.delay) + self.on_wire(size) / self.rate(way)

    def shift(self, seed: int | str, way: Way, age: float) -> float:
        """How late (early, below 0) the jitter makes a byte that is due `age` seconds after the line began."""
        if not self.jitter_s:
            return 0.0
        drawn = Random(f"{seed}/jitter-{way}/{int(age / JITTER_SLOT)}").uniform(-0.5, 0.5)
        return max(drawn * self.jitter_s, -self.delay)

    def room(self, way: Way) -> int:
        """How many bytes of one connection the line takes in before it makes the sender wait."""
        rate = self.rate(way)
        if math.isinf(rate):
            return OPEN_ROOM
        return max(MIN_ROOM, int(rate * (self.rtt_s + self.jitter_s + SLACK)))

    def portion(self, way: Way, grain: float) -> int:
        """How many bytes a connection sends before it is the next one's turn: whole packets, about `grain` seconds."""
        packet = PACKET - max(self.header_bytes, 40)
        rate = self.rate(way)
        if math.isinf(rate):
            return 44 * packet
        return packet * max(1, min(44, int(rate * grain / packet)))
