"""The relay on real sockets: tiny transfers, loose bounds; the exact figures are tested in virtual time."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kerio_mockserver.conditions.link import Link, LinkFault
from kerio_mockserver.conditions.relay import Relay

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def sender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends as many bytes as each line asks for; ends when its client does."""
    while line := await reader.readline():
        writer.write(b"x" * int(line))
        await writer.drain()
    writer.close()


async def counter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads to the end and answers with how much that was."""
    data = await reader.read()
    writer.write(b"%d" % len(data))
    writer.close()


class Place:
    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.writers: list[asyncio.StreamWriter] = []

    async def dial(self) -> Pair:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.port)
        self.writers.append(writer)
        return reader, writer


@asynccontextmanager
async def relayed(link: Link, handler: Handler = sender, **options: Any) -> AsyncIterator[Place]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    relay = await Relay.start(link, server.sockets[0].getsockname(), **options)
    place = Place(relay)
    try:
        yield place
    finally:
        for writer in place.writers:
            writer.close()
        for writer in place.writers:
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        await relay.aclose()
        server.close()


async def measured(attempt: Callable[[], Awaitable[float]], least: float, below: float) -> None:
    """No attempt takes less than `least` seconds, and one of many, on a busy machine, less than `below`."""
    took = least
    for _ in range(50):
        took = await attempt()
        assert took > least
        if took < below:
            return
    pytest.fail(f"never below {below} s; the last took {took} s")


async def ask(pair: Pair, size: int) -> float:
    """Seconds until `size` bytes have come."""
    began = time.monotonic()
    pair[1].write(b"%d\n" % size)
    await pair[0].readexactly(size)
    return time.monotonic() - began


async def test_delay_and_the_cost_of_a_new_connection() -> None:
    async with relayed(Link(rtt_s=0.05)) as place:

        async def ask_anew() -> float:
            return await ask(await place.dial(), 1)

        await measured(ask_anew, 0.099, 0.15)
        pair = await place.dial()
        await ask(pair, 1)
        await measured(lambda: ask(pair, 1), 0.049, 0.06)


async def test_rate_is_shared_by_all_connections() -> None:
    async with relayed(Link(down_bytes_s=2e6)) as place:
        pairs = [await place.dial() for _ in range(4)]

        async def ask_all() -> float:
            times = await asyncio.gather(*(ask(pair, 100_000) for pair in pairs))
            is_even = min(times) > 0.8 * max(times)
            return max(times) if is_even else math.inf

        await measured(ask_all, 0.19, 0.4)
        stats = place.relay.stats()
        assert (stats["connections"], stats["most_connections"]) == (4, 4)
        assert stats["down_bytes"] % 400_000 == 0
        assert stats["up_bytes"] == stats["down_bytes"] // 100_000 * len(b"100000\n")


async def test_uploads_are_shaped_and_hold_the_sender_back() -> None:
    async with relayed(Link(up_bytes_s=4e6), counter) as place:

        async def send() -> float:
            reader, writer = await place.dial()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            began = time.monotonic()
            writer.write(b"x" * 1_200_000)
            await writer.drain()
            assert time.monotonic() - began > 0.01, "the sender felt the line"
            writer.write_eof()
            assert await reader.read() == b"1200000"
            return time.monotonic() - began

        await measured(send, 0.29, 0.6)


async def test_streams_arrive_complete() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10_000):
            writer.write(data)
        writer.close()

    async with relayed(Link(down_bytes_s=3e6, up_bytes_s=3e6, rtt_s=0.01, jitter_s=0.01), echo) as place:
        reader, writer = await place.dial()
        sent = bytes(range(256)) * 1000
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent


async def test_conditions_change_while_running() -> None:
    async with relayed(Link(down_bytes_s=2000)) as place:
        pair = await place.dial()
        asking = asyncio.ensure_future(ask(pair, 200_000))
        await asyncio.sleep(0.05)
        assert not asking.done()
        place.relay.link = Link()
        assert await asking < 40  # it would take 100 s


@pytest.mark.parametrize("size", [0, 5000])
async def test_reset_comes_at_its_byte(size: int) -> None:
    async with relayed(Link(breaks=(LinkFault(kind="reset", at=size),))) as place:
        reader, writer = await place.dial()
        writer.write(b"20000\n")
        received = await asyncio.wait_for(reader.readexactly(size), 5)
        with pytest.raises(ConnectionResetError):
            received += await asyncio.wait_for(reader.read(1), 5)
        assert len(received) == size
        assert place.relay.stats()["breaks"]["reset"] == 1


async def test_truncation_is_an_orderly_end() -> None:
    async with relayed(Link(breaks=(LinkFault(kind="truncate", at=5000, limit=1),))) as place:
        reader, writer = await place.dial()
        writer.write(b"20000\n")
        assert len(await asyncio.wait_for(reader.read(), 60)) == 5000
        assert await ask(await place.dial(), 20_000) < 5, "only one connection was to break"


async def test_stall_holds_one_connection() -> None:
    async with relayed(Link(breaks=(LinkFault(kind="stall", at=10, seconds=0.2, limit=1),))) as place:
        first, second = await place.dial(), await place.dial()
        assert await ask(second, 100) < 0.1
        assert 0.19 < await ask(first, 100) < 1


async def test_break_upwards_ends_the_connection() -> None:
    async with relayed(Link(breaks=(LinkFault(kind="reset", way="up", at=100),)), counter) as place:
        reader, writer = await place.dial()
        writer.write(b"x" * 1000)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 60)


async def test_same_seed_breaks_the_same_connections() -> None:
    link = Link(breaks=(LinkFault(kind="reset", mean_bytes=1e5, chance=0.5),))

    async def plan(seed: int) -> list[Any]:
        relay = Relay(link, ("127.0.0.1", 1), seed=seed)
        try:
            return [relay._breaks("down", number) for number in range(50)]
        finally:
            await relay.aclose()

    assert await plan(1) == await plan(1) != await plan(2)


async def test_reset_by_the_server_reaches_the_client() -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with relayed(Link(rtt_s=0.01), abort) as place:
        reader, writer = await place.dial()
        writer.write(b"hello\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 60)


async def test_connection_breaks_without_a_server() -> None:
    async with relayed(Link()) as place:
        free = socket.create_server(("127.0.0.1", 0))
        place.relay._server = free.getsockname()
        free.close()
        reader, _ = await place.dial()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 60)


async def test_client_disconnect_reaches_the_server() -> None:
    left = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.set()
        writer.close()

    async with relayed(Link(rtt_s=0.01), wait) as place:
        _, writer = await place.dial()
        writer.write(b"hello")
        writer.close()
        await asyncio.wait_for(left.wait(), 60)
        async with asyncio.timeout(60):
            while place.relay.stats()["open_connections"]:  # noqa: ASYNC110  # no event says so
                await asyncio.sleep(0.005)


async def test_relay_takes_over_a_listening_socket() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with relayed(Link(), listener=listener) as place:
        assert place.relay.port == port
        assert await ask(await place.dial(), 10) < 5


async def test_reset_restarts_the_counts() -> None:
    async with relayed(Link()) as place:
        await ask(await place.dial(), 1000)
        place.relay.reset()
        assert (place.relay.stats()["down_bytes"], place.relay.stats()["connections"]) == (0, 0)
        await ask(await place.dial(), 10)
        assert (place.relay.stats()["down_bytes"], place.relay.stats()["connections"]) == (10, 1)


def test_relay_runs_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with relayed(
            Link(down_bytes_s=2e6, rtt_s=0.02, breaks=(LinkFault(kind="truncate", at=50_000),))
        ) as place:
            reader, writer = await place.dial()
            began = time.monotonic()
            writer.write(b"100000\n")
            assert len(await asyncio.wait_for(reader.read(), 60)) == 50_000
            assert 0.06 < time.monotonic() - began < 20

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
