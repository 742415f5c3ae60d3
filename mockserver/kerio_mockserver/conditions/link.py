"""The value of a link, and the arithmetic of when which byte arrives.

A link is a delay line: bytes leave one after the other at its rate and arrive a fixed time later, so that a long delay
does not reduce the rate. All connections share it, each direction separately. Not modelled: the slow start of TCP (the
relay has the bytes at once; a sender on a real link needs about log2(rate * rtt / 15 kB) round trips to fill it), loss
below TCP (include its effect in the rate), and the acknowledgements' share of the other direction.

With `header_bytes` 0 (the default) a rate is what TCP delivers, as a speed test shows it. With 52 (IPv4, TCP with time
stamps) it is the rate of IP packets, of which 1,448 bytes in 1,500 are data.
"""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kerio_mockserver.conditions.values import Count, Rate, Share, Value, with_example

Way = Literal["down", "up"]
PACKET = 1500  # bytes of an IP packet on Ethernet
JITTER_SLOT = 0.05  # seconds for which a link keeps its delay: queues and radio cells change on this scale
# Seconds of transmission queued beyond what is in flight, so that a pause of this process does not pause the link.
SLACK = 0.1
MIN_ROOM = 256 * 1024
OPEN_ROOM = 16 * 1024 * 1024  # bytes of a connection in a link without a limit


_ONE_PLACE = {
    "oneOf": [
        {"required": ["at"], "properties": {"at": {"type": "integer"}, "mean_bytes": {"type": "null"}}},
        {"required": ["mean_bytes"], "properties": {"at": {"type": "null"}, "mean_bytes": {"type": "number"}}},
    ]
}


class LinkFault(Value):
    """A fault of some connections, at byte `at` or after `mean_bytes` on average.

    `reset`: both sides get a TCP reset. `truncate`: both sides get an orderly end in the middle of a message. `stall`:
    that direction of that connection stops for `seconds` (0: for ever). `limit` bounds the number of connections.
    """

    model_config = with_example({"kind": "reset", "mean_bytes": 1_000_000, "chance": 0.5}, **_ONE_PLACE)

    kind: Literal["reset", "truncate", "stall"]
    """What happens to the connection."""
    way: Way = "down"
    """The direction whose bytes are counted."""
    at: int | None = Field(default=None, ge=0)
    """The byte of the stream before which it happens."""
    mean_bytes: float | None = Field(default=None, gt=0)
    """Instead of `at`: bytes after which it happens, on average."""
    chance: Share = 1.0
    """The chance that a connection has this fault, 0 to 1."""
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0
    """How long a stall lasts; 0: for ever."""
    limit: Count | None = None
    """The most connections that have this fault."""

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if (self.at is None) == (self.mean_bytes is None):
            raise ValueError("a break needs either `at` or `mean_bytes`")
        return self

    def offset(self, rng: Random) -> int | None:
        """Return the byte of the stream before which it breaks; None if it does not."""
        if rng.random() >= self.chance:
            return None
        if self.mean_bytes is not None:
            return int(rng.expovariate(1.0 / self.mean_bytes))
        return self.at


class Link(Value):
    """A link to the server; a rate of None has no limit.

    `jitter_s` is the variation of the round trip, half of it in each direction. `setup_round_trips` is how long a new
    connection waits before its first byte (1: the handshake of TCP).
    """

    model_config = with_example({"down_bytes_s": 5_750_000, "up_bytes_s": 1_125_000, "rtt_s": 0.02})

    down_bytes_s: Rate | None = None
    """The rate to the client, shared by all connections; null: no limit."""
    up_bytes_s: Rate | None = None
    """The rate to the server, shared by all connections; null: no limit."""
    rtt_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """The round-trip time in seconds."""
    jitter_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """How much the round-trip time varies, in seconds."""
    setup_round_trips: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Round trips that a new connection costs."""
    header_bytes: Annotated[int, Field(ge=0, le=200)] = 0
    """Bytes of headers per packet that count against the rate; 0: the rate is TCP's."""
    breaks: tuple[LinkFault, ...] = ()
    """Faults of connections."""

    def rate(self, way: Way) -> float:
        """Return bytes per second, infinite without a limit."""
        rate = self.down_bytes_s if way == "down" else self.up_bytes_s
        return math.inf if rate is None else rate

    @property
    def delay(self) -> float:
        """Seconds in one direction."""
        return self.rtt_s / 2

    @property
    def setup_s(self) -> float:
        """Seconds before the first byte of a new connection."""
        return self.rtt_s * self.setup_round_trips

    def on_wire(self, size: int) -> int:
        """Return the bytes that `size` bytes of a stream occupy on the link."""
        return size + self.header_bytes * -(-size // (PACKET - self.header_bytes))

    def due(self, free_at: float, arrival: float, size: int, way: Way = "down") -> float:
        """Return when the last of `size` bytes leaves the link."""
        return max(free_at, arrival + self.delay) + self.on_wire(size) / self.rate(way)

    def shift(self, seed: int | str, way: Way, age: float) -> float:
        """Return by how much jitter delays a byte due `age` seconds after the start."""
        if not self.jitter_s:
            return 0.0
        drawn = Random(f"{seed}/jitter-{way}/{int(age / JITTER_SLOT)}").uniform(-0.5, 0.5)
        return max(drawn * self.jitter_s, -self.delay)

    def room(self, way: Way) -> int:
        """Return how many bytes of a connection the link takes before it holds the sender."""
        rate = self.rate(way)
        if math.isinf(rate):
            return OPEN_ROOM
        return max(MIN_ROOM, int(rate * (self.rtt_s + self.jitter_s + SLACK)))

    def portion(self, way: Way, grain: float) -> int:
        """Return how many bytes a connection sends per turn.

        These are whole packets, for about `grain` seconds.
        """
        packet = PACKET - max(self.header_bytes, 40)
        rate = self.rate(way)
        if math.isinf(rate):
            return 44 * packet
        return packet * max(1, min(44, int(rate * grain / packet)))
