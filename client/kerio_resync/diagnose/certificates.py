"""Examines a server's certificate, also one that is not trusted.

`ssl` shows the names and dates of a certificate only after it was verified. So one that failed is examined over another
connection that trusts that very certificate and ignores its dates and its name. Nothing secret is sent over it, except
the login for a proxy, to the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from kerio_resync.errors import Exit, Misconfigured
from kerio_resync.server.http.transport import Route
from kerio_resync.server.http.trust import tls_context

MAX_HEAD_BYTES: Final = 16 * 1024
DATE_SECONDS: Final = 1.0
_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which `ssl` does not name
Address = tuple[int, tuple[Any, ...]]


class TunnelRefused(Misconfigured):
    """The proxy does not connect to the server."""

    exit = Exit.UNFINISHED


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says: whom it is for, who issued it, and its dates."""

    names: tuple[str, ...]
    issuer: str
    since: datetime
    until: datetime

    @classmethod
    def from_peer(cls, found: dict[str, Any]) -> Self:
        """Return the value for the result of `getpeercert`. KeyError, ValueError."""
        names = [str(value) for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
        subject, issuer = _common(found["subject"]), _common(found["issuer"])
        since, until = (
            datetime.fromtimestamp(ssl.cert_time_to_seconds(found[name]), UTC) for name in ("notBefore", "notAfter")
        )
        return cls(tuple(dict.fromkeys(names)) or (subject,), issuer, since, until)


def _common(name: Any) -> str:
    """Return the common name of a distinguished name, else its organisation."""
    parts = {str(key): str(value) for part in name for key, value in part}
    text = parts.get("commonName") or parts.get("organizationName") or "an unnamed authority"
    organisation = parts.get("organizationName", "")
    return text if not organisation or organisation in text else f"{text} ({organisation})"


@dataclass(frozen=True, slots=True)
class Peer:
    """The server's side of a handshake. `certificate`: None if it cannot be read."""

    version: str
    cipher: str
    sha256: str
    certificate: Certificate | None


def context_of(route: Route) -> ssl.SSLContext:
    """Return the TLS context that a rebuild would use. BadSettings."""
    return tls_context(route.ca_file, route.client_cert, route.fingerprint)


async def handshake(route: Route, host: str, port: int, address: Address, context: ssl.SSLContext) -> Peer:
    """Connect, and return the peer. OSError, SSLError, TunnelRefused."""
    _, writer = await _open(route, host, port, address, context)
    try:
        return _peer_of(writer)
    finally:
        writer.transport.abort()


async def examine(route: Route, host: str, port: int, address: Address) -> tuple[Peer, str]:
    """Return the peer although its certificate is not trusted, and its `Date` header.

    The header is "" if there is none. OSError, SSLError, EOFError.
    """
    untrusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    untrusting.check_hostname, untrusting.verify_mode = False, ssl.CERT_NONE
    reader, writer = await _open(route, host, port, address, untrusting)
    try:
        peer = _peer_of(writer)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        date = await _date_header(reader, writer, host)
    finally:
        writer.transport.abort()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=der)
    context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    with suppress(ssl.SSLError):
        peer = await handshake(route, host, port, address, context)
    return peer, date


async def _date_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> str:
    with suppress(OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
        writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii", "replace"))
        async with asyncio.timeout(DATE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "date":
                return value.strip()
    return ""


async def _open(
    route: Route, host: str, port: int, address: Address, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a TLS connection to the server, through an HTTP proxy if the route has one."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, address[1])
        if route.proxy is not None:
            await _tunnel(route, host, port, sock)
        return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host)
    except BaseException:
        sock.close()
        raise


async def _tunnel(route: Route, host: str, port: int, sock: socket.socket) -> None:
    """Ask an HTTP proxy for a connection to the server. TunnelRefused."""
    assert route.proxy is not None
    loop, proxy = asyncio.get_running_loop(), route.proxy
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.user:
        login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode("ascii", "replace"))
    head = b""
    while b"\r\n\r\n" not in head and len(head) < MAX_HEAD_BYTES:
        piece = await loop.sock_recv(sock, MAX_HEAD_BYTES)
        if not piece:
            break
        head += piece
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise TunnelRefused(f"the proxy {proxy.place} does not connect to {host}")


def _peer_of(writer: asyncio.StreamWriter) -> Peer:
    tls = writer.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) or b""
    certificate = None
    with suppress(KeyError, ValueError, TypeError):
        certificate = Certificate.from_peer(tls.getpeercert())
    cipher = (tls.cipher() or ("",))[0]
    return Peer(tls.version() or "TLS", cipher, hashlib.sha256(der).hexdigest(), certificate)
