"""A TCP relay that behaves like a link.

It stands in front of the server's socket, so that TLS, keep-alive and pipelining are real. Each direction has a rate
(shared evenly by all connections), a delay, and faults; see `link.py` for the arithmetic and for what is not modelled.
A new connection is accepted at once, as the kernel does, and its first byte waits for the round trip of the handshake.
The kernel's buffers around the relay are small, so that a sender is held back when the link is full, not megabytes
later. Which connection breaks where depends only on the seed and on its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter
from random import Random
from typing import Any, Self, cast

from kerio_mockserver.conditions.link import Link, LinkFault, Way
from kerio_mockserver.conditions.precise_timer import PreciseTimer
from kerio_mockserver.conditions.shaper import Flow, Mark, Shaper

_BUFFER = 128 * 1024
_HANDLING = 0.0001  # seconds from the kernel's read event to our write, each way, measured without a delay
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: closing discards unsent bytes and sends a reset
_WAYS: tuple[Way, Way] = ("down", "up")


class End(asyncio.Protocol):
    """One end of a relayed connection: reads into one flow and receives the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.out: Flow  # bytes from this end's peer
        self.into: Flow  # bytes to this end's peer
        self.other: End
        self.ended = False

    # from the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)  # uvloop's transport has the same methods
        transport.set_write_buffer_limits(high=_BUFFER)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.out.offer(data)

    def eof_received(self) -> bool:
        self.out.offer(Mark.END)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.into.abandon()
        if exc is not None:
            self.out.reset()

    def pause_writing(self) -> None:
        self.into.block(True)

    def resume_writing(self) -> None:
        self.into.block(False)

    # from the link, as the sink of `into`

    def deliver(self, data: bytes | memoryview | Mark) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if not isinstance(data, Mark):
            self.transport.write(data)
        elif data is Mark.END:
            self._end()
        elif data is Mark.TRUNCATED:
            self.transport.close()
            self.other.break_off()
        else:
            self.break_off()
            self.other.break_off()

    def _end(self) -> None:
        """End this half; when both halves are over, close the connection."""
        self.ended = True
        if self.transport is not None and self.transport.can_write_eof():
            with contextlib.suppress(OSError):
                self.transport.write_eof()
        if self.other.ended:
            self.close()
            self.other.close()

    def hold_sender(self, hold: bool) -> None:
        """Pause the sender at the other end while `into` is full."""
        sender = self.other.transport
        if sender is None or sender.is_closing():
            return
        if hold:
            sender.pause_reading()
        else:
            sender.resume_reading()

    # ends

    def close(self) -> None:
        """Close the connection in order."""
        if self.transport is not None:
            self.transport.close()

    def break_off(self) -> None:
        """End the connection with a reset."""
        self.out.abandon()
        self.into.abandon()
        if self.transport is not None:
            with contextlib.suppress(OSError):
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()


class Relay:
    """The relay in front of a server, listening on `port`.

    `link` may be set while it runs.
    """

    def __init__(self, link: Link, server: tuple[str, int], *, seed: int | str = 0) -> None:
        self._link = link
        self._server = server
        self._seed = seed
        self._loop = asyncio.get_running_loop()
        self._alarms: dict[Way, PreciseTimer] = {}
        self._lines: dict[Way, Shaper] = {}
        for way in _WAYS:
            self._alarms[way] = alarm = PreciseTimer(self._loop)
            self._lines[way] = line = Shaper(
                link, way, seed=seed, clock=time.monotonic, set_alarm=alarm.set, handling_s=_HANDLING
            )
            alarm.ring = line.wake
        self._listener: asyncio.Server | None = None
        self._clients: set[End] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._spent: Counter[int] = Counter()
        self.connections = self._counted_from = 0
        self.most_connections = 0
        self.port = 0

    @classmethod
    async def start(
        cls, link: Link, server: tuple[str, int], *, host: str = "127.0.0.1", port: int = 0, seed: int | str = 0,
        listener: socket.socket | None = None,
    ) -> Self:  # fmt: skip
        """Listen on `host` and `port` (0: any), or on a listening socket.

        Raise OSError if that is not possible.
        """
        relay = cls(link, server, seed=seed)
        made = listener or socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # inherited by accepted sockets
        relay._listener = await relay._loop.create_server(relay._accepted, sock=made)
        relay.port = made.getsockname()[1]
        return relay

    @property
    def link(self) -> Link:
        """The current link."""
        return self._link

    @link.setter
    def link(self, link: Link) -> None:
        if link.breaks != self._link.breaks:
            self._spent.clear()
        self._link = link
        for line in self._lines.values():
            line.change(link)

    def stats(self) -> dict[str, Any]:
        """Return bytes by direction (of streams and packets), connections, and breaks."""
        down, up = self._lines["down"], self._lines["up"]
        return {
            "down_bytes": down.bytes,
            "up_bytes": up.bytes,
            "down_wire_bytes": down.wire_bytes,
            "up_wire_bytes": up.wire_bytes,
            "connections": self.connections - self._counted_from,
            "most_connections": self.most_connections,
            "open_connections": len(self._open()),
            "breaks": {
                kind: down.breaks.get(kind, 0) + up.breaks.get(kind, 0) for kind in ("reset", "truncate", "stall")
            },
        }

    def reset(self) -> None:
        """Reset the counts; connections keep their numbers, which decide what breaks."""
        self._counted_from = self.connections
        self.most_connections = len(self._open())
        for line in self._lines.values():
            line.bytes = line.wire_bytes = 0
            line.breaks.clear()

    def _open(self) -> list[End]:
        """Return the client ends of the connections that are open at either side."""
        return [end for end in self._clients if end.transport is not None or end.other.transport is not None]

    async def aclose(self) -> None:
        """Stop listening and reset all open connections."""
        if self._listener is not None:
            self._listener.close()
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        for client in self._open():
            client.break_off()
            client.other.break_off()
        for _ in range(3):  # until the transports report their loss
            await asyncio.sleep(0)
        for alarm in self._alarms.values():
            alarm.close()

    # connections

    def _accepted(self) -> End:
        return _Accepted(self)

    def join(self, client: End) -> None:
        """Relay a new connection.

        Connect to the server, and pass bytes on once the handshake would be complete.
        """
        number, self.connections = self.connections, self.connections + 1
        server = End()
        client.other, server.other = server, client
        now, setup = time.monotonic(), self._link.setup_s
        up = Flow(self._lines["up"], server, now + setup, self._breaks("up", number))
        down = Flow(self._lines["down"], client, now + 1.5 * setup, self._breaks("down", number))
        client.out = server.into = up
        server.out = client.into = down
        up.block(True)
        self._clients = {client, *self._open()}
        self.most_connections = max(self.most_connections, len(self._clients))
        task = self._loop.create_task(self._dial(client, server))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _dial(self, client: End, server: End) -> None:
        made = socket.socket(socket.AF_INET6 if ":" in self._server[0] else socket.AF_INET)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        try:
            await self._loop.sock_connect(made, self._server)
            await self._loop.create_connection(lambda: server, sock=made)
        except OSError:
            made.close()
            client.break_off()
        except asyncio.CancelledError:
            made.close()
            raise
        else:
            server.into.block(False)

    def _breaks(self, way: Way, number: int) -> list[tuple[int, LinkFault]]:
        """Return the faults of connection `number` in one direction.

        Each is paired with its offset in the stream; they are in order.
        """
        found = []
        for index, fault in enumerate(self._link.breaks):
            if fault.way != way or (fault.limit is not None and self._spent[index] >= fault.limit):
                continue
            offset = fault.offset(Random(f"{self._seed}/break-{index}/{number}"))
            if offset is not None:
                self._spent[index] += 1
                found.append((offset, fault))
        return sorted(found, key=lambda pair: pair[0])


class _Accepted(End):
    """The end at the client, which makes the relay connect to the server."""

    def __init__(self, relay: Relay) -> None:
        super().__init__()
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.join(self)
