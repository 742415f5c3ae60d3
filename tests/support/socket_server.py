"""A bare socket server that answers with any bytes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TLS_HANDSHAKE = b"\x16"  # the first byte; a plain server closes the connection, and the client's probe ends at once


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server's address; `handler` acts once for each request."""
    tasks: set[asyncio.Task[None] | None] = set()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            while await reader.readexactly(1) != TLS_HANDSHAKE:
                await reader.readuntil(b"\r\n\r\n")
                await handler(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # the client went, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(act, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()
        for task in tasks:
            if task:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task))


def saying(*data: bytes) -> Handler:
    """Answers with these bytes, then closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in data:
            writer.write(part)
            await writer.drain()
        writer.close()

    return handler


def body(data: bytes, *headers: bytes) -> bytes:
    return JSON + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
