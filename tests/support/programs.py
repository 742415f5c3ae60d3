"""Runs the `kerio-resync` program against a mock server in this process."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerio_mockserver.testing import Server, running
from tests.support.fork_server import forked

PASSWORD = "correct horse battery staple"
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("KERIO_RESYNC", "FORCE_COLOR"))
} | {"PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "PYTHONWARNINGS": "error"}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


async def start(*arguments: str | Path, password: str | None = PASSWORD) -> asyncio.subprocess.Process:
    secret = {} if password is None else {"KERIO_RESYNC_PASSWORD": password}
    return await asyncio.create_subprocess_exec(
        *forked("kerio_resync"), *map(str, arguments), env=ENVIRONMENT | secret,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def finish(process: asyncio.subprocess.Process) -> Done:
    out, err = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def kerio_resync(*arguments: str | Path, password: str | None = PASSWORD) -> Done:
    done = await finish(await start(*arguments, password=password))
    assert "Traceback" not in done.err
    return done


@asynccontextmanager
async def mock(**options: Any) -> AsyncIterator[tuple[Server, tuple[str, ...]]]:
    """A mock server, and the options that name it to a rebuild."""
    async with running(password=PASSWORD, **options) as server:
        yield server, ("--server", server.url, "--user", server.user)
