"""Work handed out from the database: each row once, none forgotten, an end when there is no more."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from kerio_resync.sync.work_queue import WorkQueue


class Table:
    """Rows in order, as the database would have them."""

    def __init__(self, rows: set[int], way: int = 1) -> None:
        self.rows = rows
        self.way = way  # turns of the loop that an answer is on its way
        self.reads = 0

    async def read(self, limit: int, after: int | None) -> tuple[int, ...]:
        self.reads += 1
        await asyncio.sleep(0)
        rows = tuple(sorted(row for row in self.rows if after is None or row > after)[:3])
        for _ in range(self.way):
            await asyncio.sleep(0)
        return rows

    def feed(self) -> WorkQueue[int, int]:
        return WorkQueue(self.read, lambda row: row, lambda row: row)


def one(taken: list[int], row: int) -> bool:
    return False


async def test_hands_out_every_row_once_in_order() -> None:
    table = Table(set(range(10)))
    feed = table.feed()
    seen = []
    while taken := await feed.take(one):
        seen += taken
        table.rows.difference_update(taken)
        feed.done(taken)
    assert seen == list(range(10))


async def test_batches_what_fits() -> None:
    feed = Table(set(range(3))).feed()
    assert await feed.take(lambda taken, row: len(taken) < 2) == [0, 1]
    assert await feed.take(lambda taken, row: len(taken) < 2) == [2]


async def test_does_not_end_while_a_source_is_open() -> None:
    table = Table(set())
    feed = table.feed()
    with feed.producer():
        waiting = asyncio.ensure_future(feed.take(one))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        table.rows.add(5)
        feed.notify()
        assert await waiting == [5]


async def test_what_was_done_while_it_was_being_read_is_not_handed_out_again() -> None:
    table = Table({1, 2}, way=3)
    feed = table.feed()
    first = await feed.take(one)
    assert await feed.take(one) == [2]
    feed.notify()
    waiting = asyncio.ensure_future(feed.take(one))
    for _ in range(8):
        if table.reads < 3:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert table.reads == 3  # the answer is on its way, and names both
    table.rows.difference_update((1, 2))
    feed.done(first)
    feed.done([2])
    async with asyncio.timeout(60):
        assert await waiting == []


async def test_what_was_done_in_vain_while_it_was_being_read_is_handed_out_again() -> None:
    table = Table({1, 2}, way=3)
    feed = table.feed()
    first = await feed.take(one)
    await feed.take(one)
    waiting = asyncio.ensure_future(feed.take(one))
    for _ in range(3):
        await asyncio.sleep(0)
    feed.notify()
    await asyncio.sleep(0)
    feed.done(first)
    async with asyncio.timeout(60):
        assert await waiting == [1]


@given(seed=st.integers(0, 2**32), workers=st.integers(1, 8))
async def test_many_workers_and_sources_in_any_order(seed: int, workers: int) -> None:
    rng = random.Random(seed)
    table = Table(set(), way=rng.randrange(4))
    feed = table.feed()
    seen: list[int] = []

    async def produce() -> None:
        with feed.producer():
            for _ in range(5):
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
                table.rows |= {rng.randrange(10**6) for _ in range(4)} - set(seen)
                feed.notify()

    async def work() -> None:
        while taken := await feed.take(lambda taken, row: len(taken) < rng.randrange(1, 4)):
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)
            seen.extend(taken)
            table.rows.difference_update(taken)
            feed.done(taken)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(produce())
        group.create_task(produce())
        for _ in range(workers):
            group.create_task(work())
    assert not table.rows
    assert len(seen) == len(set(seen))
