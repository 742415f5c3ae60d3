"""Works on several folders at once, so that round trips overlap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")
CONCURRENT_LISTINGS: Final = 8  # folders at once; the pages of each are requested one after the other


async def for_each_concurrently(todo: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Run `work` for each entry, started in order.

    The first error cancels the others; it is in an ExceptionGroup.
    """
    entries = iter(todo)

    async def work_through() -> None:
        for entry in entries:
            await work(entry)

    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT_LISTINGS):
            group.create_task(work_through())
