from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kerio_resync.server.http.transport import AiohttpTransport, Request
from kerio_resync.server.kerio.rpc import RpcClient
from kerio_resync.server.kerio.session import Session
from kerio_resync.server.memory_budget import HeldReservations, MemoryBudget, Reservation
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit
from kerio_resync.server.pacing.limiter import Limiter
from kerio_resync.server.pacing.retry import Retrier
from simulation import virtual_time
from simulation.direct_transport import DirectResponse
from tests.support.socket_server import body, saying, serving


async def reply(
    budget: MemoryBudget, *pieces: int, pause: float = 1.0, held: HeldReservations | None = None
) -> Reservation:
    """A reply that arrives in pieces, with a pause before each."""
    if held is not None:
        held.release()
    reservation = budget.reserve(held)
    try:
        for each in pieces:
            await asyncio.sleep(pause)
            await reservation.grow(each)
    finally:
        reservation.end()
    return reservation


def test_replies_within_the_budget_do_not_wait() -> None:
    async def run() -> float:
        budget = MemoryBudget(10)
        await asyncio.gather(reply(budget, 5), reply(budget, 5))
        assert budget.reserved == 0
        return asyncio.get_running_loop().time()

    assert virtual_time.run(run()) == 1.0


def test_oldest_reservation_grows_beyond_the_budget_and_the_others_wait() -> None:
    async def run() -> list[str]:
        budget, order = MemoryBudget(10), []

        async def named(name: str, *pieces: int) -> None:
            await reply(budget, *pieces)
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for name, pieces in {"a": (5, 5, 5, 5), "b": (5, 5), "c": (5,)}.items():
                group.create_task(named(name, *pieces))
        assert budget.reserved == 0
        return order

    assert virtual_time.run(run()) == ["a", "c", "b"]


def test_cancelled_reply_releases_its_reservation() -> None:
    async def run() -> None:
        budget = MemoryBudget(10)
        first, second = (asyncio.create_task(reply(budget, 6, 6, pause=wait)) for wait in (1.0, 1.5))
        await asyncio.sleep(1.8)
        assert budget.reserved == 6  # the second one waits
        first.cancel()
        await second
        assert (budget.reserved, first.cancelled()) == (0, True)

    virtual_time.run(run())


def test_reply_cancelled_while_waiting_leaves_nothing_reserved() -> None:
    async def run() -> None:
        budget = MemoryBudget(10)
        first, second, third = (asyncio.create_task(reply(budget, 6, 3)) for _ in range(3))
        await asyncio.sleep(1.5)
        second.cancel()
        await asyncio.gather(first, third)
        assert budget.reserved == 0

    virtual_time.run(run())


def test_empty_reservation_blocks_no_other() -> None:
    """As with an attachment, which is streamed."""

    async def run() -> float:
        budget = MemoryBudget(10)
        first = budget.reserve()
        await asyncio.gather(reply(budget, 6, 6), reply(budget, 6, 6))
        first.end()
        assert budget.reserved == 0
        return asyncio.get_running_loop().time()

    assert virtual_time.run(run()) < 10


class OneReply:
    """A transport whose every reply reserves 8 bytes."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[DirectResponse]:
        reservation = self.budget.reserve(request.held)
        await reservation.grow(8)
        yield DirectResponse(200, {}, b'{"jsonrpc":"2.0","result":{}}')
        reservation.end()

    async def aclose(self) -> None:
        return None


async def test_call_releases_held_reservations_before_it_waits_for_a_slot() -> None:
    """Otherwise the tasks with slots, which wait for memory, would deadlock with it."""

    async def login() -> None:
        raise AssertionError("no reply was requested")

    budget, limiter = MemoryBudget(10), Limiter(AdaptiveLimit(value=1.0, most=1))
    client = RpcClient(OneReply(budget), Session("http://mail.test"), limiter, Retrier(), login)
    with HeldReservations() as held:
        await client.call("Mails.get", held=held)
        assert budget.reserved == 8
        async with limiter.slot():
            second = asyncio.create_task(client.call("Mails.get", held=held))
            await asyncio.sleep(0)
            assert len(limiter._waiting) == 1
            assert budget.reserved == 0
        await second
        assert budget.reserved == 8
    assert budget.reserved == 0


def test_held_reservation_counts_until_the_block_or_the_next_request() -> None:
    async def run() -> None:
        budget = MemoryBudget(10)
        with HeldReservations() as held:
            await reply(budget, 8, held=held)
            assert budget.reserved == 8
            other = asyncio.create_task(reply(budget, 8))
            await asyncio.sleep(50)
            assert not other.done()
            await reply(budget, 4, held=held)  # the next request releases what is held
            assert budget.reserved == 4
            late = asyncio.create_task(reply(budget, 1, pause=5, held=held))
            await asyncio.sleep(1)
        await asyncio.gather(other, late)  # a reply that outlives the block holds nothing
        assert budget.reserved == 0

    virtual_time.run(run())


@pytest.mark.parametrize("seed", range(20))
def test_concurrent_holders_finish_within_the_bound(seed: int) -> None:
    async def run() -> int:
        rng, budget, most = random.Random(seed), MemoryBudget(100), 0

        async def worker() -> None:
            nonlocal most
            for _ in range(5):
                with HeldReservations() as held:
                    for _ in range(rng.randint(1, 3)):
                        pieces = [rng.randint(1, 30) for _ in range(rng.randint(0, 4))]
                        task = asyncio.create_task(reply(budget, *pieces, held=held))
                        await asyncio.sleep(rng.random())
                        if rng.random() < 0.1:
                            task.cancel()
                        await asyncio.wait([task])
                        most = max(most, budget.reserved)
                    await asyncio.sleep(rng.random())

        async with asyncio.timeout(100_000):
            await asyncio.gather(*(worker() for _ in range(40)))
        assert budget.reserved == 0
        return most

    assert virtual_time.run(run()) <= 100 + 4 * 30


class Watched(MemoryBudget):
    highest = 0

    def admits(self, reservation: Reservation, size: int) -> bool:
        Watched.highest = max(Watched.highest, self.reserved)
        return super().admits(reservation, size)


async def test_concurrent_replies_stay_within_the_budget_together() -> None:
    size = 1_000_000
    transport = AiohttpTransport(memory=Watched(2 * size))
    async with serving(saying(body(bytes(size)))) as url:

        async def fetch() -> None:
            with HeldReservations() as held:
                async with transport.send(Request("GET", url, held=held)) as response:
                    assert len(await response.read(size)) == size
                await asyncio.sleep(0)  # it is being stored

        await asyncio.gather(*(fetch() for _ in range(24)))
        await transport.aclose()
    assert size < Watched.highest <= 3 * size
