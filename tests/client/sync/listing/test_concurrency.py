"""Several folders at once."""

from __future__ import annotations

import asyncio

import pytest

from kerio_resync.sync.listing.concurrency import CONCURRENT_LISTINGS, for_each_concurrently


async def test_each_is_worked_on_once_and_in_order_several_at_once() -> None:
    begun: list[int] = []
    gate = asyncio.Barrier(CONCURRENT_LISTINGS)

    async def work(each: int) -> None:
        begun.append(each)
        await gate.wait()  # goes on only when as many are there

    await asyncio.wait_for(for_each_concurrently(range(3 * CONCURRENT_LISTINGS), work), 30)
    assert begun == list(range(3 * CONCURRENT_LISTINGS))


async def test_the_first_error_ends_all() -> None:
    begun: list[int] = []

    async def work(each: int) -> None:
        begun.append(each)
        if each == 2:
            raise ValueError(each)
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await for_each_concurrently(range(100), work)
    assert [str(each) for each in caught.value.exceptions] == ["2"]
    assert len(begun) == CONCURRENT_LISTINGS


async def test_nothing_to_do_is_done() -> None:
    async def work(each: int) -> None:
        raise AssertionError

    await for_each_concurrently([], work)
