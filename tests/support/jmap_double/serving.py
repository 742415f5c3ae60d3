"""The double behind two sockets: one for calls, one for contents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.jmap_double.server import JmapDouble


@asynccontextmanager
async def serving(double: JmapDouble) -> AsyncIterator[str]:
    """Serve the double; yield the address that a user would give."""

    async def act(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = await double.handle(request.method, str(request.rel_url), headers, await request.read())
        if reply.fault in ("lost", "refused"):
            assert request.transport is not None
            request.transport.abort()
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_length = len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: len(reply.body) // 2] if reply.fault == "cut" else reply.body)
        if reply.fault == "cut":
            assert request.transport is not None
            request.transport.close()
        return response

    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", act)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        origins = []
        for _ in range(2):
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            origins.append(f"http://127.0.0.1:{runner.addresses[-1][1]}")
        double.origin, double.content_origin = origins
        yield origins[0]
    finally:
        await runner.cleanup()
