"""Thirty and more hostile replies at once, over sockets: a whole rebuild ends in bounds, and the next one is right.

The server is a bare socket that lets the mock answer until some thirty requests wait together (lists, batches of mails,
attachments). Then each of them is answered with something large or endless, and so is what follows, for a while or to
the end. Which request meets which attack is a matter of time too. The client is a process of its own, so that its
memory can be measured. `KERIO_HOSTILE`: the number of seeds (default 1).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import pytest

from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.messages import Request
from kerio_mockserver.server import MockServer
from kerio_resync import Settings, rebuild
from kerio_resync.errors import Exit
from simulation.wire import reply_parts
from simulation.world import differences
from tests.support.cache import nothing_outside
from tests.support.hostile_replies import REPLIES, send

SEEDS = int(os.environ.get("KERIO_HOSTILE", "1"))
TOGETHER = 32  # requests that wait when it begins, of 16 batches, 16 attachments and 8 lists
ENOUGH = TOGETHER
HELD = 20.0  # seconds after which it begins with fewer; a client waits for longer
FIRST = 6  # batches answered well, from which attachments become wanted
# Bytes that the client may have at the most: 60 MB to begin with, twice 64 MB for what comes, one reply of 60 MB that
# is put together and read (each letter of it may take four bytes), and what waits in buffers and for the disk.
MEMORY = 900 * 2**20
DEADLINE = 240.0  # seconds for the run; endless replies end at 64 MB each, of which a slow machine has enough
PASSWORD = "a secret of the crowd"
DECK = sorted(REPLIES.keys() - {"a wait of ten years"})  # which ends a run at once


# Whole replies: sent twice for one attachment they are its content, as far as anybody can tell.
WHOLE = {
    "lists in lists",
    "a text that grows as it is read",
    "a mail of 40 MB",
    "values and more values",
    "chunks of a byte",
}


@dataclass
class Crowd:
    """The server.

    Once `TOGETHER` requests wait each is attacked, and of what follows a `share`; `left` times in all, `lists` too (one
    of them that is too long ends a run at once).
    """

    core: MockServer
    rng: random.Random
    share: float
    left: float
    lists: bool
    hostile: bool = True
    waiting: int = 0
    most: int = 0
    batches: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    sent: Counter[str] = field(default_factory=Counter)
    deck: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while request := await received(reader):
                attack = await self.chosen(request)
                if attack is not None:
                    await send(attack, reader, writer)
                    break
                reply = await self.core.handle(request)
                headers, body = reply_parts(reply)
                lines = [f"{name}: {line}" for name, value in headers.items() for line in value.split("\n")]
                writer.write("\r\n".join([f"HTTP/1.1 {reply.status} Said", *lines, "", ""]).encode() + body)
                await writer.drain()
        writer.close()

    async def chosen(self, request: Request) -> str | None:
        """The attack that answers, once it is time; None: the mock does."""
        if not self.hostile:
            return None
        asked: dict[str, Any] = (
            orjson.loads(request.body) if request.body else {"method": "GET attachment", "params": {}}
        )
        method, params = asked["method"], asked["params"]
        if method not in ("Mails.get", "Mails.getById", "GET attachment"):
            return None
        if self.begun.is_set():
            return self.drawn(method) if self.rng.random() < self.share else None
        self.batches += method == "Mails.getById"
        if (method == "Mails.getById" and self.batches <= FIRST) or not params.get("query", {}).get("start", 1):
            return None
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.waiting >= TOGETHER:
            self.begun.set()
        try:
            async with asyncio.timeout(HELD):
                await self.begun.wait()
        except TimeoutError:
            self.begun.set()
        finally:
            self.waiting -= 1
        return self.drawn(method)

    def drawn(self, method: str) -> str | None:
        """The next of all attacks in some order, as long as there is one left."""
        if method == "Mails.get" and not self.lists:
            return None
        self.left -= 1
        if self.left < 0:
            return None
        barred = WHOLE if method == "GET attachment" else set()
        if not set(self.deck) - barred:
            self.deck += self.rng.sample(DECK, len(DECK))
        attack = next(each for each in self.deck if each not in barred)
        self.deck.remove(attack)
        self.sent[attack] += 1
        return attack


async def received(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Request(method, unquote(parts.path), headers, body, parts.query, "127.0.0.1")


@asynccontextmanager
async def served(crowd: Crowd) -> AsyncIterator[str]:
    server = await asyncio.start_server(crowd.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def life(profile: Path, url: str, user: str, retry_timeout: float) -> dict[str, Any]:
    """What the child told. Its home and its place for temporary files are beside the profile."""
    beside = profile.parent / "beside"
    beside.mkdir()
    environment = {
        **os.environ, "KERIO_RESYNC_PASSWORD": PASSWORD, "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(beside), "TMPDIR": str(beside),
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.hostile_process", str(profile), url, user, str(retry_timeout),
        env=environment, cwd=beside, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()
    assert not err, err.decode()
    assert not any(beside.iterdir())
    beside.rmdir()
    told: dict[str, Any] = json.loads(out)
    return told


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_many_hostile_replies_at_once(seed: int, tmp_path: Path) -> None:
    rng, began = random.Random(f"crowd/{seed}"), time.monotonic()
    store = generate_mailbox(
        SeedOptions(
            seed, 380, folders=12, contacts=3, events=3, tasks=1, notes=1, attachments=0.6, total_bytes=1_900_000
        )
    )
    core = MockServer(store, password=PASSWORD, seed=seed)
    for_ever = bool(seed % 2)  # or a server that comes to itself again
    times = float("inf") if for_ever else 8 if seed < 2 else rng.randint(16, 80)
    crowd = Crowd(core, rng, share=rng.choice((0.5, 1.0)), left=times, lists=seed % 4 > 1)
    async with served(crowd) as url:
        told = await life(tmp_path / "p", url, core.user, 1.0 if for_ever else 120.0)
        assert crowd.most >= ENOUGH
        assert told["code"] != Exit.INTERNAL_ERROR
        assert len(told["error"]) < 1000
        assert told["most"] < MEMORY
        nothing_outside(tmp_path)
        settings = Settings.model_validate(
            {"profile": tmp_path / "p", "server": url, "user": core.user, "password": PASSWORD}
        )
        assert told["error"] or told["named"] or not await differences(core.store, settings)
        crowd.hostile = False
        report = await rebuild(settings)
    assert report.skipped == ()
    assert await differences(core.store, settings) == set()
    nothing_outside(tmp_path)
    print(
        f"\n{crowd.sent.total()} hostile replies, {crowd.most} requests at once, {time.monotonic() - began:.1f} s,"
        f" {told['most'] / 2**20:.0f} MiB, {told['named']} left out by name, {told['error'] or 'done'}; differences: 0"
    )
