"""Starts clients that kill themselves at a chosen instant, and their server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerio_mockserver.testing import Server, running
from simulation.mailboxes import cached_mailbox

IN_FLIGHT = 4  # requests at once, as set in the child
PASSWORD = "correct horse battery staple"
CHURN = {
    "churn": {
        "script": [
            {"action": action, "method": "Mails.getById", "nth": nth, "every": 7}
            for nth, action in enumerate(("arrive", "move", "delete", "read", "edit-draft", "rename-folder"), 2)
        ]
    }
}


def new_server() -> Any:
    store = cached_mailbox(3, 70, contacts=9, events=7, tasks=3, notes=3, total_bytes=2_000_000)
    return running(store, seed=3, password=PASSWORD, conditions=CHURN)


@dataclass
class Nursery:
    """Where the lives begin."""

    process: asyncio.subprocess.Process
    folder: Path

    async def life(self, server: Server, profile: Path, at: int | str = 0, copy: Path | None = None) -> tuple[int, str]:
        """(exit code, standard output) of one life, which may end by a death."""
        code, out, err = await self.lived(server, profile, KERIO_CRASH_AT=str(at), KERIO_CRASH_COPY=str(copy or ""))
        assert "Traceback" not in err, err
        assert code in (0, -signal.SIGKILL), err
        return code, out

    async def lived(self, server: Server, profile: Path, **environment: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of one life."""
        out, err = self.folder / "out", self.folder / "err"
        life = {
            "arguments": [str(profile), server.url, server.user],
            "environment": {"KERIO_RESYNC_PASSWORD": PASSWORD, **environment},
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**life, "out": str(out), "err": str(err)}).encode() + b"\n")
        pid = int(await self.process.stdout.readline())
        try:
            code = int(await asyncio.wait_for(self.process.stdout.readline(), 50))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise
        return code, out.read_text(), err.read_text()


@asynccontextmanager
async def nursery(folder: Path) -> AsyncIterator[Nursery]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.crash_process",
        cwd=Path(__file__).parents[2], stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Nursery(process, folder)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
