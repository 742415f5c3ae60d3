"""Small HTTP and SOCKS5 proxies on loopback, with or without a login."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Log:
    """A proxy's port, the targets it was `asked` for, and the `heads` it received."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes, greeting: bytes
) -> None:
    """Whatever name was asked for, the server is on this machine."""
    try:
        there, to = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        return
    writer.write(greeting)
    to.write(first)
    try:
        await asyncio.gather(_pump(reader, to), _pump(there, writer))
    finally:
        to.close()


@contextlib.asynccontextmanager
async def _listening(serve: Serve, log: Log) -> AsyncIterator[Log]:
    tasks: set[asyncio.Task[None]] = set()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(act, "127.0.0.1", 0)
    log.port = server.sockets[0].getsockname()[1]
    try:
        yield log
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def http_proxy(*, login: str = "", status: int = 0, scheme: str = "Basic") -> AsyncIterator[Log]:
    """An HTTP proxy; `login`: "user:password"; `status`: answers everything with it."""
    log = Log()
    wanted = b"proxy-authorization: basic " + base64.b64encode(login.encode()).lower()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        log.heads.append(head)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        log.asked.append(f"{method} {target}")
        if login and wanted not in head.lower().split(b"\r\n"):
            writer.write(f"HTTP/1.1 407 No\r\nProxy-Authenticate: {scheme}\r\nContent-Length: 0\r\n\r\n".encode())
        elif status:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
        elif method == "CONNECT":
            await _join(reader, writer, int(target.rpartition(":")[2]), b"", b"HTTP/1.1 200 Go\r\n\r\n")
        else:
            parts = urlsplit(target)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            rest = head.replace(target.encode(), path.encode(), 1)
            await _join(reader, writer, parts.port or 80, rest, b"")

    async with _listening(serve, log):
        yield log


@contextlib.asynccontextmanager
async def socks_proxy(*, login: str = "") -> AsyncIterator[Log]:
    """A SOCKS5 proxy (RFC 1928, 1929)."""
    log = Log()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = (await reader.readexactly(2))[1]
        offered = await reader.readexactly(count)
        method = 2 if login else 0
        writer.write(bytes([5, method if method in offered else 255]))
        if method not in offered:
            return
        if login:
            _, size = await reader.readexactly(2)
            user = await reader.readexactly(size)
            secret = await reader.readexactly((await reader.readexactly(1))[0])
            good = user + b":" + secret == login.encode()
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            name = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            name = ".".join(map(str, await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2), "big")
        log.asked.append(f"{name}:{port}")
        await _join(reader, writer, port, b"", b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")

    async with _listening(serve, log):
        yield log
