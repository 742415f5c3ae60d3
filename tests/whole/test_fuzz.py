"""Mutated replies to all methods: only documented errors come out, every run ends, and the next healthy one is right.

`KERIO_FUZZ`: how many replies are changed (default 600; `make soak`: 100,000).
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kerio_resync import rebuild, verify
from kerio_resync.errors import Exit, ResyncError, explain
from kerio_resync.model import KINDS, Item, Listing
from kerio_resync.server.kerio.mailbox import KerioMailbox
from simulation import virtual_time
from simulation.world import World
from tests.support.mutating_transport import MutatingTransport

WANTED = int(os.environ.get("KERIO_FUZZ", "600"))
DEADLINE = 24 * 3600.0  # seconds of virtual time for one run
REAL = 30.0  # seconds of processor time for one run
GROWTH = 400 * 2**20  # bytes of memory for all of them together
Ending = str


def mailbox_of(world: World, rng: random.Random, share: float) -> tuple[KerioMailbox, MutatingTransport]:
    transport = MutatingTransport(world.server, rng=rng, share=share)
    return KerioMailbox(world.settings(retry_timeout=60.0), transport=transport, chance=rng.random), transport


async def ending(work: Awaitable[Any]) -> Ending:
    """How it ended: "done", or the name of a documented error."""
    try:
        async with asyncio.timeout(DEADLINE):
            await work
    except ResyncError as error:
        sentence, code = explain(error)
        assert code is not Exit.INTERNAL_ERROR
        assert len(sentence) < 2000
        return type(error).__name__
    return "done"


def run(
    world: World, rng: random.Random, share: float, command: Callable[..., Awaitable[Any]]
) -> tuple[Ending, Counter[str]]:
    async def go() -> Ending:
        try:
            return await ending(command(world.settings(retry_timeout=60.0), mailbox=mailbox))
        finally:
            world.now = asyncio.get_running_loop().time() + 1

    began = time.process_time()
    mailbox, transport = mailbox_of(world, rng, share)
    found = virtual_time.run(go(), start=world.now)
    assert time.process_time() - began < REAL
    return found, transport.spoilt


async def call_each_verb(mailbox: KerioMailbox, world: World, rng: random.Random, ends: Counter[Ending]) -> None:
    """All that a client can ask for, the changes included; each call may fail by itself."""

    async def count(work: Awaitable[Any]) -> Any:
        found: list[Any] = []

        async def keep() -> None:
            found.append(await work)

        ends[await ending(keep())] += 1
        return found[0] if found else None

    await count(mailbox.open())
    await count(mailbox.quota())
    folders = await count(mailbox.folders(shared=True, public=True)) or ()
    key = await count(mailbox.sync_key())
    world.mutate("arrive")
    if key:
        await count(mailbox.changes(key))
    for kind in KINDS:
        folder = rng.choice([each for each in folders if each.kind == kind] or [None])
        if folder is None:
            continue
        page = await count(anext(mailbox.list_items(Listing((folder,)), whole=rng.random() < 0.5)))
        ids = [row.id for row in page.rows][:3] if page else []
        details = await count(mailbox.items_by_id(kind, ids))
        for item in details.items if details else ():
            await change_it(mailbox, item, folder.id, count)
            for attachment in item.attachments[:1]:
                await count(drained(mailbox.download(attachment)))
    await count(mailbox.upload("a.txt", "text/plain", chunks(b"hello"), 5))


async def change_it(
    mailbox: KerioMailbox, item: Item, folder: str, count: Callable[[Awaitable[Any]], Awaitable[Any]]
) -> None:
    await count(mailbox.create(item.kind, folder, [item.payload]))
    await count(mailbox.update(item.kind, [b'{"id":"%s"}' % item.id.encode()]))
    await count(mailbox.move(item.kind, [item.id], folder))
    await count(mailbox.find(item))
    await count(mailbox.remove(item.kind, [item.id]))


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def drained(pieces: AsyncIterator[Any]) -> None:
    async for _ in pieces:
        pass


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz_verbs(folder: Path, wanted: int, ends: Counter[Ending]) -> Counter[str]:
    spoilt: Counter[str] = Counter()
    seed = 0
    while spoilt.total() < wanted:
        seed += 1
        rng = random.Random(f"verbs/{seed}")
        world = World(folder, seed % 7, 20)
        mailbox, transport = mailbox_of(world, rng, rng.choice((0.1, 0.4, 0.8)))
        transport.most = 10**9

        async def go(mailbox: KerioMailbox, world: World, rng: random.Random) -> None:
            for _ in range(4):
                await call_each_verb(mailbox, world, rng, ends)
            await mailbox.close()

        virtual_time.run(go(mailbox, world, rng))
        spoilt += transport.spoilt
    return spoilt


def fuzz_runs(folder: Path, wanted: int, ends: Counter[Ending]) -> Counter[str]:
    spoilt: Counter[str] = Counter()
    seed = 0
    while spoilt.total() < wanted:
        seed += 1
        rng = random.Random(f"runs/{seed}")
        world = World(folder / str(seed), seed, rng.randint(0, 25), 8)
        for command in (rebuild, rebuild, verify)[: rng.randint(1, 3)]:
            found, some = run(world, rng, rng.choice((0.03, 0.1, 0.3)), command)
            ends[found] += 1
            spoilt += some
        world.heal()
        assert world.run() == "done", seed
        assert {path.name for path in folder.iterdir()} == {str(each) for each in range(1, seed + 1)}
    return spoilt


@pytest.mark.timeout(120 if WANTED <= 2000 else 24 * 3600)
def test_only_documented_errors_come_of_spoilt_replies(tmp_path: Path) -> None:
    before, began = memory(), time.monotonic()
    ends: Counter[Ending] = Counter()
    spoilt = fuzz_verbs(tmp_path, WANTED * 7 // 8, ends)
    spoilt += fuzz_runs(tmp_path / "runs", WANTED - spoilt.total(), ends) if mkdir(tmp_path / "runs") else Counter()
    assert spoilt.total() >= WANTED
    assert memory() - before < GROWTH
    assert ends["done"]
    assert ends["ProtocolError"]
    print(
        f"\n{spoilt.total():,} mutated replies to {len(spoilt)} methods in {time.monotonic() - began:,.0f} s:",
        dict(ends),
    )
    print(f"memory grew by {(memory() - before) / 2**20:,.0f} MiB; differences from documented endings: 0")


def mkdir(path: Path) -> bool:
    path.mkdir()
    return True
