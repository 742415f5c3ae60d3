"""The control server.

Observes and changes the mock, on a port of its own that no link or load slows down.

    GET  /digest       one line per item, `kind id watermark sha256`, sorted as bytes; breaks off if the mailbox changes
    GET  /stats        requests by method, bytes, errors, sessions, requests in flight, waits under load, faults
    POST /reset        restarts the statistics; with {"mailbox": true} makes the mailbox anew
    GET  /conditions   the conditions as JSON; PUT replaces them, PATCH applies a JSON merge patch (RFC 7396)
    POST /churn        changes the mailbox now: {"steps": [{"action", "times", "folder"}, ...]}; returns what happened
    GET  /churn        the changes that churn has made so far
    GET  /journal      all changes, to compare two runs

Invalid requests answer 400 with `{"error": text}`. Requests from other machines, unless the port was opened to them,
and requests that a web page of another site could cause are refused: see `control_guard`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson
from aiohttp import web
from pydantic import ValidationError

from kerio_mockserver import control_guard
from kerio_mockserver.conditions.model import Churn, Conditions
from kerio_mockserver.conditions.values import ConditionsError, explain
from kerio_mockserver.server import MockServer

_LINES = 50  # of a digest between two pauses that let the server answer others
_MAX_BODY = 16 << 20
_REMOTE = web.AppKey("remote", bool)


class Served(Protocol):
    """The running server as the control server uses it."""

    @property
    def core(self) -> MockServer: ...

    async def change(self, conditions: Conditions) -> None: ...

    def link_stats(self) -> dict[str, Any] | None: ...

    def reset(self, *, mailbox: bool = False) -> None: ...


def application(served: Served, *, remote: bool = False) -> web.Application:
    """Return the aiohttp application of the control server.

    `remote`: other machines may use it.
    """
    control = Control(served)
    app = web.Application(middlewares=[_explained], client_max_size=_MAX_BODY)
    app[_REMOTE] = remote
    app.router.add_get("/digest", control.digest)
    app.router.add_get("/stats", control.stats)
    app.router.add_get("/journal", control.journal)
    app.router.add_post("/reset", control.reset)
    app.router.add_get("/conditions", control.conditions)
    app.router.add_put("/conditions", control.replace)
    app.router.add_patch("/conditions", control.patch)
    app.router.add_post("/churn", control.churn)
    app.router.add_get("/churn", control.churned)
    return app


class Control:
    """The request handlers."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._core = served.core

    async def digest(self, request: web.Request) -> web.StreamResponse:
        """Send the digest, and break off if the mailbox changes meanwhile."""
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=UTF-8"})
        await response.prepare(request)
        lines: list[str] = []
        store, watermark = self._core.store, self._core.store.journal.watermark
        for line in store.digest():
            lines.append(line)
            if len(lines) == _LINES:
                await response.write("".join(lines).encode())
                lines.clear()
                await asyncio.sleep(0)
                if store.journal.watermark != watermark:  # a digest of two states would prove nothing
                    _break_off(request)
                    return response
        await response.write("".join(lines).encode())
        return response

    async def stats(self, request: web.Request) -> web.Response:
        """Answer with the statistics."""
        core = self._core
        figures = core.stats.as_json() | {
            "sessions": len(core.sessions),
            "logins": core.sessions.opened,
            "polls": len(core.polls),
            "watermark": core.store.journal.watermark,
            "link": self._served.link_stats(),
            "load": core.load.tally.as_json(),
            "faults": [hit._asdict() for hit in core.faults.history()],
        }
        return _json(figures)

    async def journal(self, request: web.Request) -> web.Response:
        """Answer with all changes of the mailbox."""
        return _json(self._core.store.journal.history())

    async def reset(self, request: web.Request) -> web.Response:
        """Reset the statistics, and with `mailbox` the mailbox."""
        body = await _object(request)
        self._served.reset(mailbox=body.get("mailbox") is True)
        return _json({})

    async def conditions(self, request: web.Request) -> web.Response:
        """Answer with the conditions."""
        return _json(self._core.conditions.as_json())

    async def replace(self, request: web.Request) -> web.Response:
        """Replace the conditions."""
        await self._served.change(Conditions.parse(await _object(request)))
        return await self.conditions(request)

    async def patch(self, request: web.Request) -> web.Response:
        """Apply a merge patch to the conditions."""
        await self._served.change(self._core.conditions.patched(await _object(request)))
        return await self.conditions(request)

    async def churn(self, request: web.Request) -> web.Response:
        """Change the mailbox now."""
        body = await _object(request)
        try:
            churn = Churn.model_validate({"script": body.get("steps", [])})
        except ValidationError as error:
            raise ConditionsError(explain(error)) from None
        return _json([change._asdict() for change in self._core.churning.do(churn.script)])

    async def churned(self, request: web.Request) -> web.Response:
        """Answer with the changes that churn has made."""
        return _json([change._asdict() for change in self._core.churning.history()])


@web.middleware
async def _explained(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        listening = request.transport.get_extra_info("sockname") if request.transport else ("", 0)
        if not request.app[_REMOTE]:
            control_guard.require_local(request.transport.get_extra_info("peername") if request.transport else None)
        control_guard.check(request.raw_path, request.headers, listening, has_body=request.body_exists)
        return await handler(request)
    except control_guard.Foreign as refusal:
        return _json({"error": str(refusal)}, refusal.status)
    except (ConditionsError, ValueError) as error:
        return _json({"error": str(error)}, 400)


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, {} for an empty body; raise ValueError."""
    body = await request.read()
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    return value


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value) + b"\n", content_type="application/json")
