"""Something on the way answers for a while in the server's place: what the server has is there in the end, or no 0.

A captive portal, a proxy or an error page answers one method, from its first call in a window of time on. All runs are
in virtual time. `make soak` tries each kind at each method; by default each method meets
some kinds and each kind some methods.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from kerio_resync import rebuild
from kerio_resync.errors import ResyncError
from kerio_resync.server.http.transport import Request, Response, refuse_redirect
from kerio_resync.server.kerio.mailbox import KerioMailbox
from simulation import virtual_time
from simulation.direct_transport import DirectResponse, DirectTransport
from simulation.world import World
from tests.support.cases import covering
from tests.support.small_world import Small

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome</body></html>"
HTML = {"content-type": "text/html; charset=utf-8"}
JSON = {"content-type": "application/json"}
SECONDS = 10.0


def said(status: int, body: bytes = PAGE, **headers: str) -> Callable[[Request, DirectResponse], DirectResponse]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, reply: DirectResponse(status, (HTML if body[:1] == b"<" else JSON) | named, body)


def truncated(request: Request, reply: DirectResponse) -> DirectResponse:
    """The half of it, with a length that says that this is all."""
    half = reply.body[: len(reply.body) // 2]
    return DirectResponse(reply.status, {**reply.headers, "content-length": str(len(half))}, half)


def padded_page(request: Request, reply: DirectResponse) -> DirectResponse:
    """A page just as long as what it stands for."""
    body = PAGE.ljust(len(reply.body))[: max(len(reply.body), 1)]
    return DirectResponse(200, {**HTML, "content-length": str(len(body))}, body)


def other_id(request: Request, reply: DirectResponse) -> DirectResponse:
    body = {"jsonrpc": "2.0", "id": 987654, "error": {"code": 1002, "message": "No such item."}}
    return DirectResponse(200, JSON, orjson.dumps(body))


Kind = Callable[[Request, DirectResponse], DirectResponse]
KINDS: dict[str, Kind] = {
    "page": said(200),
    "302": said(302, location="http://portal.example/login"),
    "401": said(401, www_authenticate="Basic"),
    "403": said(403),
    "404": said(404),
    "407": said(407, proxy_authenticate="Basic"),
    "511": said(511),
    "empty": said(200, b""),
    "truncated": truncated,
    "302-same-host": said(302, location="/webmail/login/"),
    "500": said(500),
    "gzipped-page": lambda request, reply: DirectResponse(200, HTML, PAGE),  # the transport has undone it
    "padded-page": padded_page,
    "page-as-file": lambda request, reply: DirectResponse(200, {"content-type": "application/octet-stream"}, PAGE),
    "braces": said(200, b"{}"),
    "brackets": said(200, b"[]"),
    "null": said(200, b"null"),
    "other-id": other_id,
    "other-api": said(200, b'{"status":"ok","result":{"list":[],"totalItems":0,"result":[]}}'),
    "other-api-error": said(200, b'{"error":{"code":404,"message":"Not found"}}'),
    "text-error": said(400, b'{"error":"invalid_request"}'),
    "206": said(206, b"portal"),
    "206-of-it": said(206, b"portal", content_range="bytes 0-5/6"),
    "204": said(204, b""),
}
PORTAL = KINDS["page"]
METHODS = (
    "Session.whoAmI", "Folders.get", "Mails.get", "Mails.getById", "Contacts.get", "Events.get", "Changes.getSyncKey",
    "Changes.get",
)  # fmt: skip
DOWNLOAD = "GET attachment"
CASES = [*covering(METHODS, list(KINDS), 4), *covering([DOWNLOAD], list(KINDS), 16)]


@dataclass
class Portal(DirectTransport):
    """Answers `method` (None: everything) as `kind` for `seconds`, beginning with its `nth` call."""

    kind: Kind = PORTAL
    method: str | None = DOWNLOAD
    seconds: float = SECONDS
    nth: int = 1
    only: Callable[[Request], bool] = lambda request: True
    until: float = 0.0
    calls: int = 0
    foreign: int = 0
    times: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        async with super().send(request) as response:
            reply = response
            assert isinstance(reply, DirectResponse)
            now = asyncio.get_running_loop().time()
            if self.method in (None, self.requests[-1]) and self.only(request):
                self.calls += 1
                if self.calls == self.nth:
                    self.until = now + self.seconds
                if self.calls >= self.nth and now < self.until:
                    self.foreign += 1
                    self.times.append(now)
                    reply = self.kind(request, reply)
                    refuse_redirect(request.url, reply.status, reply.headers.get("location", ""))
            yield reply


def behind(world: World, portal: Portal, **settings: object) -> ResyncError | None:
    """A rebuild of `world` behind the portal, to its end."""

    async def go() -> ResyncError | None:
        with_these = world.settings(**settings)
        mailbox = KerioMailbox(
            with_these,
            world.hear if isinstance(world, Small) else print,
            transport=portal,
            chance=random.random,
        )
        clock = asyncio.get_running_loop().time
        try:
            world.report = await rebuild(with_these, getattr(world, "hear", print), mailbox=mailbox, clock=clock)
        except ResyncError as error:
            return error
        finally:
            world.now = clock() + 1
        return None

    return virtual_time.run(go(), start=world.now)


@pytest.mark.parametrize(("method", "kind"), CASES)
def test_rebuild_waits_for_the_server_itself(method: str, kind: str, tmp_path: Path) -> None:
    world = Small(tmp_path)
    portal = Portal(world.server, kind=KINDS[kind], method=method)
    assert behind(world, portal) is None
    assert portal.foreign
    assert world.differences() == []
    assert world.report is not None
    assert world.report.skipped == ()
