"""The memory that replies may take together."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kerio_resync.events import ignore_events
from kerio_resync.server.http.memory_budget import MemoryBudget, Reservation, hold_reservations
from kerio_resync.server.http.transport import AiohttpTransport, Request
from kerio_resync.server.kerio.rpc import RpcClient
from kerio_resync.server.kerio.session import Session
from kerio_resync.server.pacing.adaptive_limit import Limit
from kerio_resync.server.pacing.limiter import Limiter
from kerio_resync.server.pacing.retry import Retrier
from simulation import virtual_time
from simulation.direct_transport import DirectResponse
from tests.support.socket_server import body, saying, serving


async def reply(room: MemoryBudget, *pieces: int, pause: float = 1.0) -> Reservation:
    """One that comes in pieces, with a pause before each."""
    share = room.share()
    try:
        for each in pieces:
            await asyncio.sleep(pause)
            await share.grow(each)
    finally:
        share.end()
    return share


def test_what_fits_does_not_wait() -> None:
    async def run() -> float:
        room = MemoryBudget(10)
        await asyncio.gather(reply(room, 5), reply(room, 5))
        assert room.taken == 0
        return asyncio.get_running_loop().time()

    assert virtual_time.run(run()) == 1.0


def test_the_oldest_goes_on_and_the_others_wait_for_it() -> None:
    async def run() -> list[str]:
        room, order = MemoryBudget(10), []

        async def named(name: str, *pieces: int) -> None:
            await reply(room, *pieces)
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for name, pieces in {"a": (5, 5, 5, 5), "b": (5, 5), "c": (5,)}.items():
                group.create_task(named(name, *pieces))
        assert room.taken == 0
        return order

    assert virtual_time.run(run()) == ["a", "c", "b"]


def test_one_that_is_given_up_makes_room() -> None:
    async def run() -> None:
        room = MemoryBudget(10)
        first, second = (asyncio.create_task(reply(room, 6, 6, pause=wait)) for wait in (1.0, 1.5))
        await asyncio.sleep(1.8)
        assert room.taken == 6  # the second one waits
        first.cancel()
        await second
        assert (room.taken, first.cancelled()) == (0, True)

    virtual_time.run(run())


def test_one_that_is_given_up_while_it_waits_leaves_no_trace() -> None:
    async def run() -> None:
        room = MemoryBudget(10)
        first, second, third = (asyncio.create_task(reply(room, 6, 3)) for _ in range(3))
        await asyncio.sleep(1.5)
        second.cancel()
        await asyncio.gather(first, third)
        assert room.taken == 0

    virtual_time.run(run())


def test_nobody_waits_for_what_takes_nothing() -> None:
    """An attachment that is handed on as it comes, and that was there first."""

    async def run() -> float:
        room = MemoryBudget(10)
        first = room.share()
        await asyncio.gather(reply(room, 6, 6), reply(room, 6, 6))
        first.end()
        assert room.taken == 0
        return asyncio.get_running_loop().time()

    assert virtual_time.run(run()) < 10


class OneReply:
    """A transport whose every reply takes 8 bytes of the room."""

    def __init__(self, room: MemoryBudget) -> None:
        self.room = room

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[DirectResponse]:
        share = self.room.share()
        await share.grow(8)
        yield DirectResponse(200, {}, b'{"jsonrpc":"2.0","result":{}}')
        share.end()

    async def aclose(self) -> None:
        return None


async def test_who_waits_for_a_turn_to_ask_holds_nothing() -> None:
    """Else those who have the turns, and wait for room, would wait for ever."""

    async def login() -> None:
        raise AssertionError("nobody asked for it")

    room, limiter = MemoryBudget(10), Limiter(Limit(value=1.0, most=1))
    caller = RpcClient(OneReply(room), Session("http://mail.test"), limiter, Retrier(), ignore_events, login)
    with hold_reservations():
        await caller.call("Mails.get")
        assert room.taken == 8
        async with limiter.slot():
            second = asyncio.create_task(caller.call("Mails.get"))
            await asyncio.sleep(0)
            assert len(limiter._waiting) == 1
            assert room.taken == 0
        await second
        assert room.taken == 8
    assert room.taken == 0


def test_what_is_kept_counts_until_it_is_let_go_of() -> None:
    async def run() -> None:
        room, elsewhere = MemoryBudget(10), contextvars.copy_context()
        with hold_reservations():
            await reply(room, 8)
            assert room.taken == 8
            other = asyncio.create_task(reply(room, 8), context=elsewhere)
            await asyncio.sleep(50)
            assert not other.done()
            await reply(room, 4)  # a next one in the same block: what came before is dealt with
            assert room.taken == 4
            late = asyncio.create_task(reply(room, 1, pause=5))
            await asyncio.sleep(1)
        await asyncio.gather(other, late)  # one that outlives the block keeps nothing
        assert room.taken == 0

    virtual_time.run(run())


@pytest.mark.parametrize("seed", range(20))
def test_many_that_keep_what_they_have_all_come_to_an_end_within_the_bound(seed: int) -> None:
    async def run() -> int:
        rng, room, most = random.Random(seed), MemoryBudget(100), 0

        async def worker() -> None:
            nonlocal most
            for _ in range(5):
                with hold_reservations():
                    for _ in range(rng.randint(1, 3)):
                        pieces = [rng.randint(1, 30) for _ in range(rng.randint(0, 4))]
                        task = asyncio.create_task(reply(room, *pieces))
                        await asyncio.sleep(rng.random())
                        if rng.random() < 0.1:
                            task.cancel()
                        await asyncio.wait([task])
                        most = max(most, room.taken)
                    await asyncio.sleep(rng.random())

        async with asyncio.timeout(100_000):
            await asyncio.gather(*(worker() for _ in range(40)))
        assert room.taken == 0
        return most

    assert virtual_time.run(run()) <= 100 + 4 * 30


class Watched(MemoryBudget):
    highest = 0

    def admits(self, share: Reservation, size: int) -> bool:
        Watched.highest = max(Watched.highest, self.taken)
        return super().admits(share, size)


async def test_replies_at_once_are_bounded_together() -> None:
    size = 1_000_000
    transport = AiohttpTransport(room=Watched(2 * size))
    async with serving(saying(body(bytes(size)))) as url:

        async def fetch() -> None:
            with hold_reservations():
                async with transport.send(Request("GET", url)) as response:
                    assert len(await response.read(size)) == size
                await asyncio.sleep(0)  # it is being stored

        await asyncio.gather(*(fetch() for _ in range(24)))
        await transport.aclose()
    assert size < Watched.highest <= 3 * size
