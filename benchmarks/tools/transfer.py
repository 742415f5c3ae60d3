"""The two ends of a measured transfer, as programs with bare sockets.

They run as processes of their own, also inside network namespaces.

    python -m benchmarks.tools.transfer serve [--host H] [--link JSON]     prints its port; ends at the end of its input
    python -m benchmarks.tools.transfer fetch H PORT CONNECTIONS BYTES     prints {"first", "last", "head"}
    python -m benchmarks.tools.transfer ping H PORT TIMES                  prints a list of seconds

With --link a relay is in front of the server, and the port is the relay's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import selectors
import socket
import sys
import time
from typing import cast

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.relay import Relay

_PIECE = b"x" * 65_536
_WARM_UP = 10


class Sender(asyncio.Protocol):
    """Sends as many bytes as each line asks for."""

    def __init__(self) -> None:
        self._line = b""
        self._left = 0
        self._held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        self._left += sum(map(int, lines))
        self._send()

    def pause_writing(self) -> None:
        self._held = True

    def resume_writing(self) -> None:
        self._held = False
        self._send()

    def _send(self) -> None:
        while self._left and not self._held:
            piece = _PIECE[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)


def listener(host: str) -> socket.socket:
    """Listen with CUBIC, the congestion control of nearly all servers (RFC 9438)."""
    made = socket.create_server((host, 0))
    with contextlib.suppress(OSError, AttributeError):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    return made


async def serve(host: str, link: Link | None) -> None:
    """Serve until the end of standard input."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sender, sock=listener(host))
    port: int = server.sockets[0].getsockname()[1]
    relay = await Relay.start(link, (host, port), host=host) if link is not None else None
    print(relay.port if relay else port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    if relay is not None:
        await relay.aclose()
    server.close()


def fetch(host: str, port: int, connections: int, size: int) -> dict[str, float]:
    """Fetch `size` bytes over several new connections, a part over each.

    Return the seconds to the first and to the last byte, and the bytes that came with the first.
    """
    selector = selectors.DefaultSelector()
    share = size // connections
    began = time.perf_counter()
    for _ in range(connections):
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex((host, port))
        selector.register(made, selectors.EVENT_WRITE)
    left, first, head = share * connections, 0.0, 0
    buffer = bytearray(1 << 18)
    while left:
        for key, event in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            if event & selectors.EVENT_WRITE:
                key.fileobj.sendall(b"%d\n" % share)
                selector.modify(key.fileobj, selectors.EVENT_READ)
                continue
            got = key.fileobj.recv_into(buffer)
            if not got:
                raise SystemExit("the server closed early")
            left -= got
            if not first:
                first, head = time.perf_counter() - began, got
    last = time.perf_counter() - began
    for key in list(selector.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
    return {"first": first, "last": last, "head": head}


def ping(host: str, port: int, times: int) -> list[float]:
    """Return round trips in seconds of one byte over a connection that is in use."""
    found = []
    with socket.create_connection((host, port)) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(times + _WARM_UP):
            began = time.perf_counter()
            made.sendall(b"1\n")
            made.recv(1)
            found.append(time.perf_counter() - began)
    return found[_WARM_UP:]


def main() -> None:
    """Run a sender or a receiver in this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tools.transfer")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve")
    server.add_argument("--host", default="127.0.0.1")
    server.add_argument("--link")
    for name, figures in (("fetch", ("connections", "size")), ("ping", ("times",))):
        client = commands.add_parser(name)
        client.add_argument("host")
        for figure in ("port", *figures):
            client.add_argument(figure, type=int)
    given = parser.parse_args()
    if given.command == "serve":
        asyncio.run(serve(given.host, Link.model_validate_json(given.link) if given.link else None))
    elif given.command == "fetch":
        print(json.dumps(fetch(given.host, given.port, given.connections, given.size)))
    else:
        print(json.dumps(ping(given.host, given.port, given.times)))


if __name__ == "__main__":
    main()
