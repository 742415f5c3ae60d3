"""Several folders at once: a server far away lists them in the time of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")
CONCURRENT_LISTINGS: Final = 8  # folders listed at once; the pages of each come one after the other


async def for_each_concurrently(todo: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Does `work` for each, begun in their order. The first error ends them all; it comes in an ExceptionGroup."""
    left = iter(todo)

    async def go() -> None:
        for each in left:
            await work(each)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT_LISTINGS):
            group.create_task(go())
