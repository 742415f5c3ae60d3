"""Lower bounds of a rebuild.

Bare loops over the same requests and rows, as programs.

    python -m benchmarks.tools.bare record URL USER FILE PROFILE   the client itself, recording its requests
    python -m benchmarks.tools.bare read URL USER FILE             aiohttp: the same requests, replies discarded
    python -m benchmarks.tools.bare write CACHE NEW                sqlite3: the same rows in one transaction, one fsync

The password is in $KERIO_RESYNC_PASSWORD. Each prints {"seconds", "cpu", …}, measured inside, without the start of
Python. The bare reader has as many requests in flight as the client's maximum; the bare writer keeps no journal, and
has its rows in memory before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

_WORKERS = 16
_LOGIN = "Session.login"
_API = "/webmail/api/jsonrpc/"
_SKIPPED = (b'"Session.', b'"Changes.')


async def record(url: str, user: str, file: Path, profile: Path) -> dict[str, Any]:
    """Rebuild once; write each request to `file`, one per line."""
    from kerio_resync import Settings, rebuild
    from kerio_resync.server.http.transport import AiohttpTransport, Request, Response
    from kerio_resync.server.kerio.mailbox import KerioMailbox

    lines: list[str] = []

    class Recorder(AiohttpTransport):
        @asynccontextmanager
        async def send(self, request: Request) -> AsyncIterator[Response]:
            body = request.body or b""
            if not any(mark in body for mark in _SKIPPED):
                headers = {name: request.headers[name] for name in ("Accept-Encoding",) if name in request.headers}
                lines.append(json.dumps([request.method, request.url.removeprefix(url), headers, body.decode()]))
            async with super().send(request) as response:
                yield response

    settings = Settings.model_validate(
        {"profile": profile, "server": url, "user": user, "password": os.environ["KERIO_RESYNC_PASSWORD"]}
    )
    transport = Recorder(connections=settings.max_in_flight)
    mailbox = KerioMailbox(settings, transport=transport)
    report = await rebuild(settings, mailbox=mailbox)
    file.write_text("\n".join(lines))
    return {"seconds": report.seconds, "requests": len(lines)}


async def read(url: str, user: str, file: Path) -> dict[str, Any]:
    """Make the same requests in a loop that only reads."""
    todo = iter([json.loads(line) for line in file.read_text().splitlines()])
    size = 0
    began, cpu = time.perf_counter(), time.process_time()
    async with aiohttp.ClientSession(
        auto_decompress=False, read_bufsize=1 << 20, cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as session:
        proof = await _login(session, url, user)

        async def work() -> None:
            nonlocal size
            for method, path, headers, body in todo:
                more = {"Content-Type": "application/json-rpc"} if body else {}
                async with session.request(
                    method, url + path, headers={**proof, **headers, **more}, data=body or None
                ) as reply:
                    reply.raise_for_status()
                    while piece := await reply.content.readany():
                        size += len(piece)

        async with asyncio.TaskGroup() as group:
            for _ in range(_WORKERS):
                group.create_task(work())
    return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "bytes": size}


async def _login(session: aiohttp.ClientSession, url: str, user: str) -> dict[str, str]:
    params = {
        "userName": user,
        "password": os.environ["KERIO_RESYNC_PASSWORD"],
        "application": {"name": "bare", "vendor": "bare", "version": "1"},
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": _LOGIN, "params": params}
    async with session.post(url + _API, json=call) as reply:
        answer = await reply.json(content_type=None)
    return {"X-Token": answer["result"]["token"]}


def write(source: Path, target: Path) -> dict[str, Any]:
    """Write a cache's rows to a new file with the same tables and indexes."""
    old = sqlite3.connect(source)
    made = [row[0] for row in old.execute("SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql > ''"
                                          " AND name NOT LIKE 'sqlite%' ORDER BY type DESC")]  # fmt: skip
    tables = [
        row[0] for row in old.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    ]
    rows = {name: old.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
    page_size = old.execute("PRAGMA page_size").fetchone()[0]
    old.close()
    began, cpu = time.perf_counter(), time.process_time()
    new = sqlite3.connect(target, isolation_level=None)
    new.execute(f"PRAGMA page_size = {page_size}")
    for pragma in ("journal_mode = OFF", "synchronous = OFF"):
        new.execute(f"PRAGMA {pragma}")
    new.execute("BEGIN")
    for sql in made:
        new.execute(sql)
    for name, values in rows.items():
        _insert(new, name, values)
    new.execute("COMMIT")
    new.close()
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "rows": sum(map(len, rows.values())),
        "bytes": target.stat().st_size,
    }


def _insert(db: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        db.executemany(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(rows[0]))})', rows)


def main(arguments: Iterable[str]) -> None:
    """Run one of the bare loops in this process."""
    what, *rest = arguments
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        match what:
            case "record":
                found = runner.run(record(rest[0], rest[1], Path(rest[2]), Path(rest[3])))
            case "read":
                found = runner.run(read(rest[0], rest[1], Path(rest[2])))
            case _:
                found = write(Path(rest[0]), Path(rest[1]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
