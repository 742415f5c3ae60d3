"""The real client against the real mock server without sockets: a transport that calls the server as a function.

With the virtual clock of `benchmarks.virtual_time` a run of minutes takes milliseconds and always goes the same way.
What a fault does to a reply on its way is acted out here as the client's transport would report it.
"""

from __future__ import annotations

import asyncio
import io
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from benchmarks.virtual_link import ORIGIN, arrived, sent
from kerio_mockserver.app import MockServer
from kerio_mockserver.mailbox.generate.seed import generate_mailbox
from kerio_mockserver.mailbox.generate.size_table import Line
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.messages import Reply
from kerio_resync.errors import OutcomeUnknown, ProtocolError
from kerio_resync.server.http.transport import ReadTimeout, Request, Response

__all__ = ["ORIGIN", "CoreResponse", "CoreTransport", "act_out", "stocked"]


class _Pack(pickle.Pickler):
    """Leaves out the large tables of sizes, which stores share and never change; they are `kept`."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.kept: list[list[Line]] = []

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is not list or not obj or type(obj[0]) is not Line:
            return None
        self.kept.append(obj)
        return len(self.kept) - 1


class _Unpack(pickle.Unpickler):
    def __init__(self, data: bytes, kept: list[list[Line]]) -> None:
        super().__init__(io.BytesIO(data))
        self._kept = kept

    def persistent_load(self, pid: int) -> list[Line]:
        return self._kept[pid]


@cache
def _packed(seed: int, mails: int, more: tuple[tuple[str, Any], ...]) -> tuple[bytes, list[list[Line]]]:
    pack = _Pack(file := io.BytesIO())
    pack.dump(generate_mailbox(seed, mails, **dict(more)))
    return file.getvalue(), pack.kept


def stocked(seed: int, mails: int, **more: Any) -> MailboxStore:
    """A mailbox as `seeded` makes it. Making one takes far longer than copying it; tests want the same ones."""
    found: MailboxStore = _Unpack(*_packed(seed, mails, tuple(more.items()))).load()
    return found


async def nothing(request: Request) -> None:
    """The hook that lets every request through."""


@dataclass(slots=True)
class CoreResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: int | None = None
    wire_bytes: int = 0
    connect_seconds: float = 0.0

    async def read(self, limit: int) -> bytes:
        parts = [each async for each in self.chunks()]
        body = b"".join(parts)
        if len(body) > limit:
            raise ProtocolError(f"a reply of more than {limit} bytes")
        return body

    async def chunks(self) -> AsyncIterator[bytes]:
        end = len(self.body) if self.cut is None else min(self.cut, len(self.body))
        for start in range(0, end, 65536):
            data = self.body[start : min(start + 65536, end)]
            self.wire_bytes += len(data)
            yield data
        if self.cut is not None:
            raise OutcomeUnknown("the reply was cut short")


@dataclass
class CoreTransport:
    """`before` is awaited ahead of each request: tests change the mailbox, pause, or end the run there."""

    core: MockServer
    before: Callable[[Request], Awaitable[None]] = nothing
    requests: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        await self.before(request)
        reply = await self.core.handle(arrived(request, without="accept-encoding"))
        self.requests.append(reply.rpc)
        yield await act_out(reply, request.timeout)

    async def aclose(self) -> None:
        return None


async def act_out(reply: Reply, patience: float) -> CoreResponse:
    """The reply as it would reach a client that bears `patience` seconds of silence, with its mishap."""
    headers, body = sent(reply)
    response = CoreResponse(reply.status, headers, body)
    mishap = reply.fault
    if mishap is None:
        return response
    match mishap.kind:
        case "reset-before-head":
            raise OutcomeUnknown("the connection was reset")
        case "reset-after-head":
            response.cut = mishap.at
        case "cut":
            response.cut = mishap.at
        case "stall":
            await asyncio.sleep(min(mishap.seconds or patience, patience))
            if not 0 < mishap.seconds < patience:
                raise ReadTimeout(f"nothing was said for {patience:.0f} s")
        case "drip":
            await asyncio.sleep(min(len(body) / max(mishap.rate, 1.0), 3600))
        case "wrong-length":
            headers["content-length"] = str(mishap.at)
            response.body = body[: mishap.at]
            response.cut = None if mishap.at <= len(body) else len(body)
    return response
