"""The control server.

Observes and changes the mock, on a port of its own that no link or load slows down.

    GET  /control/           the page with charts and controls, which uses what follows
    GET  /digest             one line per item, `kind id watermark sha256`, sorted as bytes; ends if the mailbox changes
    GET  /stats              requests by method, bytes, errors, sessions, requests in flight, waits under load, faults
    GET  /history            one sample per second (`history.py`); `?after=N` only those after sample N
    GET  /metrics            the figures as Prometheus reads them
    POST /reset              restarts the statistics; with {"mailbox": true} makes the mailbox anew
    GET  /conditions         the conditions as JSON; PUT replaces them, PATCH applies a JSON merge patch (RFC 7396);
                             with `If-Match` only if they are still those of that ETag, otherwise 412
    GET  /conditions/schema  the JSON schema of the conditions
    GET  /presets            all presets: what each is, and its conditions
    POST /churn              changes the mailbox now: {"steps": [{"action", "times", "folder"}, ...]}; returns them
    GET  /churn              the changes that churn has made so far
    GET  /journal            all changes, to compare two runs; `?last=N` only the last N

Invalid requests answer 400 with `{"error": text}`. Requests from other machines, unless the port was opened to them,
and requests that a web page of another site could cause are refused: see `control_guard`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import orjson
from aiohttp import web
from pydantic import ValidationError

from kerio_mockserver import control_guard, static_files
from kerio_mockserver.conditions.model import Churn, Conditions
from kerio_mockserver.conditions.presets import ABOUT, PRESETS
from kerio_mockserver.conditions.values import ConditionsError, explain
from kerio_mockserver.history import History
from kerio_mockserver.metrics import Metrics
from kerio_mockserver.server import MockServer

_LINES = 50  # of a digest between two pauses that let the server answer others
_MAX_BODY = 16 << 20
_REMOTE = web.AppKey("remote", bool)
_PAGE = "/control/"
_OPENED_BY_LINKS = frozenset({"/", "/control", _PAGE})
_SCHEMA_URL = "/conditions/schema"


class Served(Protocol):
    """The running server as the control server uses it."""

    url: str

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
    app.router.add_get("/history", control.history)
    app.router.add_get("/metrics", control.metrics)
    app.router.add_get("/presets", control.presets)
    app.router.add_get(_SCHEMA_URL, control.schema)
    app.router.add_get("/", control.to_page)
    app.router.add_get("/control", control.to_page)
    app.router.add_get(_PAGE + "{name:[^/]*}", control.page)
    app.cleanup_ctx.append(control.sampling)
    return app


class Control:
    """The request handlers."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._core = served.core
        self._history = History(self._core, self._traffic)
        self._metrics = Metrics(self._core, self._traffic)

    def _traffic(self) -> tuple[int, int]:
        """Return the bytes to and from clients: the link's, or else those of bodies."""
        link, stats = self._served.link_stats(), self._core.stats
        return (link["down_bytes"], link["up_bytes"]) if link else (stats.bytes_out_wire, stats.bytes_in)

    async def sampling(self, app: web.Application) -> AsyncIterator[None]:
        """Take samples while the control server runs."""
        task = asyncio.get_running_loop().create_task(self._history.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

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
        """Answer with all changes of the mailbox, or the last ones."""
        changes = self._core.store.journal.history()
        last = _whole_number(request, "last")
        return _json(changes if last is None else changes[max(len(changes) - last, 0) :])

    async def history(self, request: web.Request) -> web.Response:
        """Answer with the samples after one, and the figures since the last reset."""
        history = self._history
        return _json(
            {
                "number": history.number,
                "samples": history.after(_whole_number(request, "after") or 0),
                "totals": history.totals(),
                "revision": self._core.revision,
                "url": self._served.url,
            }
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Answer with the metrics in the format that Prometheus asks for."""
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def presets(self, request: web.Request) -> web.Response:
        """Answer with all presets."""
        values = {name: {"about": ABOUT[name], "conditions": preset.as_json()} for name, preset in PRESETS.items()}
        return _json(values)

    async def schema(self, request: web.Request) -> web.Response:
        """Answer with the JSON schema of the conditions."""
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Conditions.model_json_schema()
        return web.Response(body=orjson.dumps(schema), content_type="application/schema+json")

    async def to_page(self, request: web.Request) -> web.Response:
        """Redirect to the page."""
        return web.Response(status=302, headers={"Location": _PAGE})

    async def page(self, request: web.Request) -> web.Response:
        """Answer with a file of the page."""
        file = static_files.find("control", request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        if request.headers.get("If-None-Match") == file.etag:
            return web.Response(status=304, headers=file.headers)
        return web.Response(body=file.body, headers=file.headers)

    async def reset(self, request: web.Request) -> web.Response:
        """Reset the statistics, and with `mailbox` the mailbox."""
        body = await _object(request)
        self._served.reset(mailbox=body.get("mailbox") is True)
        return _json({})

    async def conditions(self, request: web.Request) -> web.Response:
        """Answer with the conditions, and their revision as the ETag."""
        response = _json(self._core.conditions.as_json())
        response.headers.update({"ETag": self._etag, "Link": f'<{_SCHEMA_URL}>; rel="describedby"'})
        return response

    async def replace(self, request: web.Request) -> web.Response:
        """Replace the conditions."""
        self._require_match(request)
        await self._served.change(Conditions.parse(await _object(request)))
        return await self.conditions(request)

    async def patch(self, request: web.Request) -> web.Response:
        """Apply a merge patch to the conditions."""
        self._require_match(request)
        await self._served.change(self._core.conditions.patched(await _object(request)))
        return await self.conditions(request)

    @property
    def _etag(self) -> str:
        return f'"{self._core.revision}"'

    def _require_match(self, request: web.Request) -> None:
        if request.headers.get("If-Match", self._etag) not in {self._etag, "*"}:
            raise _ChangedMeanwhile

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


class _ChangedMeanwhile(Exception):
    """The conditions are no longer those that a request wants to change."""


@web.middleware
async def _explained(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        listening = request.transport.get_extra_info("sockname") if request.transport else ("", 0)
        if not request.app[_REMOTE]:
            control_guard.require_local(request.transport.get_extra_info("peername") if request.transport else None)
        opens = request.method in {"GET", "HEAD"} and request.raw_path in _OPENED_BY_LINKS
        control_guard.check(
            request.raw_path, request.headers, listening, has_body=request.body_exists, opens_page=opens
        )
        return await handler(request)
    except control_guard.Foreign as refusal:
        return _json({"error": str(refusal)}, refusal.status)
    except _ChangedMeanwhile:
        return _json({"error": "The conditions were changed meanwhile; these are the present ones. Try again."}, 412)
    except (ConditionsError, ValueError) as error:
        return _json({"error": str(error)}, 400)


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _whole_number(request: web.Request, name: str) -> int | None:
    """Return a number of the query, None if it is not given; raise ValueError."""
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"`{name}` must be a whole number")
    return int(text)


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
